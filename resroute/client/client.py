"""The client: calls, being an instance, and the connection.

What a session asks the router stands in :mod:`resroute.client.questions`, what only administrators may in
:mod:`resroute.client.administering`.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import trio

from resroute.client.administering import Administration
from resroute.client.becoming import open_instance
from resroute.client.calling import call
from resroute.client.instance import Instance
from resroute.client.link import ClientState, Link
from resroute.client.messages import read_payload
from resroute.client.notifications import Notifications, open_notifications
from resroute.client.questions import Questions
from resroute.client.requests import Params, given, take_time
from resroute.client.results import (
    ClientStatistics,
)
from resroute.client.streams import CallStream
from resroute.errors import AlreadyRegistered, ConnectionLost

_WANTS_PROGRESS = {"progress": True}


class Client(Questions, Administration):
    """Sessions with a router, one at a time. Made by :func:`resroute.open_client`; its methods may be called from any task.

    Every method works under Trio's own deadlines, such as ``with trio.fail_after(5):``. While there is no connection they
    wait for one, as long as that deadline allows, and 30 seconds if there is none. Every one raises
    :class:`resroute.ConnectionLost` when there is none in that time, when the connection ends before the answer, or when
    it is over with this client; and one class of error for each type of error that the router knows, all of them
    :class:`resroute.RouterError`: :class:`resroute.Forbidden` where this session may not do what is asked, and
    :class:`resroute.InvalidParams` where what is given is wrong, whether a method names them or not. What only asks the
    router something outlives the end of a connection, and may be cancelled without anything having changed.

    What cannot be said is not sent: TypeError for what is not JSON, ValueError for more than the router takes in one message.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._instance_id: str | None = None
        self._is_instance = False

    async def call(
        self,
        method: str,
        params: Params | None = None,
        *,
        resource_id: str | None = None,
        service_name: str | None = None,
        wait_for_owner_seconds: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Call a method of whoever owns ``resource_id``, or of some instance of ``service_name``.

        The time that Trio's deadline leaves is sent along, so the router and the callee give up when you do. Without
        a deadline the router's default applies; it ends a longer one at its own maximum. Cancelling a call cancels
        it at its callee, too.

        A call that has not run is made again, after a pause, for as long as the deadline allows: where it was
        ``not_delivered``, and where the router asks to be asked later. Nothing that the callee has answered is.

        Args:
            method: not beginning with ``rpc.`` or ``$/``.
            params: what JSON can say. NaN and infinities arrive as null.
            resource_id: with a ``service_name`` besides, the owner must belong to it.
            service_name: alone: the router chooses among the instances that can take a call.
            wait_for_owner_seconds: how long to wait while nobody owns the resource.
            idempotency_key: passed on to the callee.
            idempotent: to run twice does no harm, so the call is made again, too, where it may have run. All attempts have
                one ``idempotency_key``, which is made up if none is given.

        Returns:
            The callee's result. Integers of any size are kept; of duplicate keys the last counts.

        Raises:
            RemoteError: the callee answered with an error of its own.
            ResourceNotFound: nobody owns the resource.
            ServiceNotFound: there is no instance of the service.
            CallError: the router ended the call; ``delivery`` tells whether the callee may have run it. With
                ``not_delivered`` it is safe to call again.
            ConnectionLost: as above, also with ``delivery``.
            TypeError: the params are not JSON; nothing was sent.
            ValueError: the call is larger than the router takes; nothing was sent.
        """
        if idempotent and idempotency_key is None:
            idempotency_key = uuid4().hex
        request = given(
            method=method,
            params=params,
            resource_id=resource_id,
            service_name=service_name,
            wait_for_owner_seconds=wait_for_owner_seconds,
            idempotency_key=idempotency_key,
        )
        return await call(self._link, request, idempotent=idempotent)

    @asynccontextmanager
    async def open_stream(
        self,
        method: str,
        params: Params | None = None,
        *,
        resource_id: str | None = None,
        service_name: str | None = None,
        wait_for_owner_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[CallStream]:
        """Make a call that gives partial results, and iterate over them.

        ```python
        async with client.open_stream("search", {"text": "a"}, resource_id="library:1") as chunks:
            async for chunk in chunks:
                print(chunk)
        print(chunks.result)
        ```

        All that :meth:`call` says holds here, with these differences. It is never made again. Leaving the block before the
        call has ended cancels it. While chunks flow, the time that the router gives the call counts from the last of them,
        so without a deadline of yours a call may go on for as long as they do.

        Chunks that have arrived wait here, up to 4 MiB of them; the connection is never held up. Who falls further
        behind gets the chunks up to there and then :class:`resroute.FellBehind`, and the call is cancelled.

        Args:
            method: as for :meth:`call`, and so are all others.

        Raises:
            TypeError: the params are not JSON; nothing was sent.
            ValueError: the call is larger than the router takes; nothing was sent.
            ConnectionLost: the connection has ended already. Whatever becomes of the call itself is raised by the
                iteration.
        """
        session = self._link.usable or await self._link.ready()
        await session.wait_room()
        request = given(
            method=method,
            params=params,
            resource_id=resource_id,
            service_name=service_name,
            wait_for_owner_seconds=wait_for_owner_seconds,
            idempotency_key=idempotency_key,
        )
        deadline = await take_time(request, session.max_timeout_seconds)
        async with session.open_request("route.call", request, read_payload, _WANTS_PROGRESS) as pending:
            yield CallStream(pending, deadline)

    def open_notifications(self) -> AbstractAsyncContextManager[Notifications]:
        """Receive what owners push to this session, for as long as the block runs.

        ```python
        async with client.open_notifications() as notes:
            await client.call("join", resource_id="room:1")
            async for note in notes:
                print(note.resource_id, note.method, note.params)
        ```

        An owner may push to those who have called its resource: see :meth:`resroute.Caller.notify`. Everything that
        arrives while the block runs is there, in order; what arrives while no block runs is dropped, so open one before
        the call that makes an owner push. Several blocks at a time get everything each. A block is for one connection: over
        the next one owners push only to those who call again.

        Up to 4 MiB wait here to be taken; the connection is never held up. Who falls further behind gets those and then
        :class:`resroute.FellBehind`; open a new block then, and ask the owner how things stand.

        Raises:
            ConnectionLost: the connection has ended. In the iteration, once all has been taken that arrived before.
            FellBehind: in the iteration: see above.
        """
        return open_notifications(self._link)

    # --- being an instance ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_instance(
        self,
        service_name: str,
        service: object,
        *,
        instance_id: str | None = None,
        priority: int = 0,
        max_concurrency: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        resume_token: str | None = None,
        resume_grace_seconds: float = 0.0,
    ) -> AsyncGenerator[Instance]:
        """Answer calls, and own resources, for as long as the block runs.

        Each call runs in a task of its own, under the time that its caller gave it, and is cancelled when the caller
        cancels or leaves. Calls begin in the order in which the router sent them. A :class:`resroute.RemoteError`
        that is raised goes to the caller as it is; of any other exception the caller learns only that there was
        one, and its traceback is logged. That holds for errors of the router's too, in a handler that makes calls itself:
        whether *they* were delivered says nothing about the call that is being answered.

        A call with an epoch that is known to be out of date is not run: see :class:`resroute.StaleEpoch`.

        At the end of the block everything is released and no new calls come. Calls at work are then finished, each
        within its time; they are cancelled, and answered with an error, if the block ends by an exception.

        A connection that ends takes the resources and cancels the calls at work, but does not end the block: the instance
        registers again over the next one, and takes back what it can get (see :meth:`resroute.Instance.open_changes`). When
        it is over with the client, :meth:`wait_closed` tells. A client can be an instance once; afterwards it can still call.

        Args:
            service: an object, whose public methods become callable: params by name or by position become their
                arguments. Or a function that takes each :class:`resroute.Call` as it is. What they return is the
                answer; they may be async. Those that are not run on Trio's thread: they must not block. Of an async
                generator each value is progress (see :meth:`resroute.Call.progress`), and the answer is null.
            instance_id: the router mints one if there is none.
            priority: for calls by service: the highest come first.
            max_concurrency: the most handlers that run at a time over one connection; the router holds back what is above.
                One that is cancelled counts until it has ended, and so do notifications. None: as many as come.
            metadata: for administrators to see.
            resume_token: that of an earlier session of this instance. This one takes its place, and owns at once what that
                one owned: see :attr:`resroute.client.Instance.resumed`. A token that is good no more does no harm.
            resume_grace_seconds: how long what it owns is kept for it if its connection is cut off, up to the router's limit
                ``max_resume_grace_seconds``. Leaving the block, or being ended, gives it all up at once. Leaving it while
                there is no connection does so if there is one within 5 seconds; else all of it is kept for that long.

        Raises:
            AlreadyRegistered: this client is, or was, an instance; or was about to be one when it was cancelled.
            Forbidden: this session has not the role ``instance``, or not for this service.
            InstanceConflict: ``instance_id`` is connected elsewhere or suspended, and ``resume_token`` is not its own.
            InvalidParams: ``resume_grace_seconds`` is above the limit.
        """
        if self._is_instance:
            raise AlreadyRegistered(self._instance_id)
        request = given(
            service_name=service_name,
            instance_id=instance_id,
            priority=priority or None,
            max_concurrency=max_concurrency,
            metadata=metadata,
            resume_token=resume_token,
            resume_grace_seconds=resume_grace_seconds or None,
        )
        self._is_instance = True
        try:
            async with open_instance(self._link, service_name, service, request) as instance:
                self._instance_id = instance.instance_id
                yield instance
        finally:
            # if it was refused, one may try again
            self._is_instance = self._instance_id is not None

    # --- the connection -------------------------------------------------------------------------------------------

    async def wait_closed(self) -> ConnectionLost:
        """Wait until it is over with this client, and return why; it is not raised.

        It is over when the connection has ended and the client does not connect again.
        """
        return await self._link.wait_ended()

    @property
    def state(self) -> ClientState:
        """``connected``; ``connecting``, while it tries to be that again; or ``closed``, for good."""
        return self._link.state

    async def wait_connected(self) -> None:
        """Wait until there is a connection, however long that takes.

        Raises:
            ConnectionLost: it is over with this client.
        """
        await trio.lowlevel.checkpoint()
        await self._link.next_session()

    def statistics(self) -> ClientStatistics:
        """What this client holds now, and has seen."""
        session, earlier = self._link.session, self._link.counts
        assert session is not None
        return ClientStatistics(
            calls_in_flight=session.calls_in_flight,
            calls_serving=session.calls_serving,
            outbox_messages=session.outbox_length,
            late_answers=earlier.late_answers + session.late_answers,
            unreadable_messages=earlier.unreadable_messages + session.unreadable_messages,
            connections=earlier.connections,
            dropped_notifications=earlier.dropped_notifications + session.dropped_notifications,
        )
