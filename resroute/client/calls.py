"""A call as the instance that answers it sees it."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs
import trio

from resroute.client.requests import Asking, Params, notify


@attrs.frozen
class Caller:
    """Who made a call, in the router's word. One may be kept, to push to it later: see :meth:`notify`.

    Attributes:
        session_id: never used again for another. Empty in a :class:`Call` that no router has delivered.
        instance_id: set if the caller is an instance itself.
        subject: whom it has authenticated as.
    """

    session_id: str = ""
    instance_id: str | None = None
    subject: str | None = None
    _instance: Asking | None = attrs.field(default=None, eq=False, repr=False)
    _resource_id: str | None = attrs.field(default=None, eq=False, repr=False)

    async def notify(self, method: str, params: Params | None = None) -> None:
        """Push a notification to the caller, about the resource that it called.

        It is on its way when this returns: behind everything that the router had for the caller before. That the caller
        takes it is not confirmed. The caller sees it in :meth:`resroute.Client.open_notifications`, or however a JSON-RPC
        library shows notifications. It works for as long as this instance owns the resource and the caller's session
        lives; of many callers, the router knows the last ones for each resource. It outlives the end of this instance's
        connection, not that of the caller's. If it is cancelled, it may be on its way nevertheless.

        Args:
            method: not beginning with ``rpc.``, ``$/``, ``session.`` or ``resource.``.
            params: what JSON can say.

        Raises:
            SessionNotFound: the caller has gone, or called too long ago.
            NotOwner: another instance owns the resource now.
            ResourceNotFound: nobody owns it now.
            Unavailable: too much waits for the caller already.
            ConnectionLost: this instance's connection has ended.
            ValueError: the call named no resource but a service.
        """
        if self._instance is None or self._resource_id is None:
            raise ValueError("only who has called a resource can be notified, and by its owner")
        await notify(self._instance, self.session_id, self._resource_id, method, params)


@attrs.frozen
class Call:
    """One call to this instance. A handler function gets it; in a method of a service, see :func:`current_call`.

    Attributes:
        method: as the caller gave it.
        params: an object, a list, or None if the caller gave none.
        resource_id: set if it was called by resource.
        epoch: the fencing token of this instance's grant of ``resource_id``: hand it on to whatever you write to.
        service_name: the service through which it was called.
        caller: who called. It is the router's word, not the caller's.
        trace_id: under which the router's log tells of this call.
        traceparent: W3C trace context, if the caller sent one.
        idempotency_key: the caller's, if it gave one. The router only passes it on.
        timeout_seconds: what was left when the call arrived. The handler runs under that deadline.
        is_notification: nobody waits for an answer; what the handler returns or raises is not sent.
        wants_progress: the caller takes partial results: see :meth:`progress`.
    """

    method: str
    params: Any = None
    resource_id: str | None = None
    epoch: int | None = None
    service_name: str | None = None
    caller: Caller = Caller()
    trace_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    timeout_seconds: float | None = None
    is_notification: bool = False
    wants_progress: bool = False
    _send: Callable[[Any], Awaitable[None]] | None = attrs.field(default=None, eq=False, repr=False)
    _epochs: Mapping[str, int] | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_current(self) -> bool:
        """Whether this instance still owns the resource under ``epoch``, as far as it knows: it may change at any moment."""
        if self._epochs is None or self.resource_id is None:
            return True
        return self._epochs.get(self.resource_id) == self.epoch

    async def progress(self, value: Any) -> None:
        """Send the caller a partial result: a chunk of its :meth:`resroute.Client.open_stream`.

        Does nothing if the caller did not ask for any, or if the call is over. Chunks arrive in order, and all of them
        before the answer. Waits while 64 KiB wait to be sent already. A caller that does not keep up has the call
        ended. With each chunk the call has its ``timeout_seconds`` anew. Cancelled, it has sent nothing.

        Raises:
            TypeError: the value is not JSON.
            ValueError: it is larger than the router takes.
        """
        if self._send is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._send(value)


if TYPE_CHECKING:

    class OwnedCall(Call):
        """A :class:`Call` as a method gets it that is :meth:`resroute.Service.fenced`: for a resource, under a grant.

        It is there for those who check types: what runs is a :class:`Call`.
        """

        resource_id: str
        epoch: int
else:
    OwnedCall = Call

MAX_TOLD = 100
"""Characters of the name of a method that callers and logs are told of: a caller may have made it up."""


def told(method: str) -> str:
    """The name of a method for a line of a log: one word, if it is one."""
    return method if method.isprintable() and len(method) <= MAX_TOLD else repr(method[:MAX_TOLD])


Handler = Callable[[Call], object]
"""Answers a call with what it returns; what can be awaited is, and what an async generator yields is progress."""

calling: ContextVar[Call] = ContextVar("resroute_call")


def current_call() -> Call:
    """The call that this task works on, or was started by.

    Raises:
        RuntimeError: there is none.
    """
    try:
        return calling.get()
    except LookupError:
        raise RuntimeError("current_call() works only in what an instance runs to answer a call") from None
