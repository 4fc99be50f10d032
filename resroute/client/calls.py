"""A call as the instance that answers it sees it."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs

from resroute.client.messages import Caller


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
    """

    method: str
    params: Any = None
    resource_id: str | None = None
    epoch: int | None = None
    service_name: str | None = None
    caller: Caller | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    timeout_seconds: float | None = None
    is_notification: bool = False


Handler = Callable[[Call], object]
"""Answers a call with what it returns; what can be awaited is."""

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
