"""The router's own methods: who may call them, and which part does what they ask for. Those about sessions are here."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.metadata import version

from msgspec import Raw

from resroute.core.commands import EndGrace
from resroute.core.facts import Applied
from resroute.core.state import State
from resroute.errors import Forbidden, InternalError, RouterError, SessionNotFound
from resroute.ids import SessionId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.openrpc import openrpc_document
from resroute.protocol.structure import structure_params
from resroute.router.auditing import Auditor
from resroute.router.notifying import notify
from resroute.router.request import Handler, Request, heartbeat_of
from resroute.router.session import Ending, Session
from resroute.router.submitting import Submitter
from resroute.settings import Settings


class Operations:
    """What each of the router's own methods does.

    Args:
        handlers: of methods, by their names.
    """

    def __init__(self, settings: Settings, *handlers: Mapping[str, Handler]) -> None:
        self._settings = settings
        self._handlers = {name: handler for group in handlers for name, handler in group.items()}

    def start(self, request: Request, params: Raw | None) -> Iterator[None] | None:
        """Do what a request asks for. It is answered exactly once, by the end of this or later.

        What takes long is left to the steps that are returned: see :data:`~resroute.router.request.Handler`.
        """
        method = request.method
        try:
            values = structure_params(
                params,
                method.params,
                max_items=self._settings.max_bulk_items,
                max_object_bytes=self._settings.max_metadata_bytes,
                max_value_bytes=self._settings.max_state_bytes,
            )
            if request.trace is not None:
                request.trace.asks_for(values)
            if method.role is not None and not request.session.may(method.role):
                raise Forbidden(method.role)
            steps = self._handlers[method.name](request, values)
        except Exception as error:
            _fail(request, error)
            return None
        return None if steps is None else _go_on(request, steps)


def _go_on(request: Request, steps: Iterator[None]) -> Iterator[None]:
    try:
        yield from steps
    except Exception as error:
        _fail(request, error)
    except GeneratorExit:  # its session has ended in the middle
        request.abandon()
        raise


def _fail(request: Request, error: Exception) -> None:
    """Answer a request with the error that came of it."""
    if isinstance(error, RouterError):
        request.refuse(error)
    else:
        request.session.log.error(
            "request failed", operation=request.method.name, trace_id=request.trace_id, exc_info=error
        )
        request.refuse(InternalError())


class SessionOperations:
    """What the methods ``rpc.*`` and ``session.*`` do.

    Args:
        start_task: starts a task that lives as long as the router's sessions.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        sessions: Mapping[SessionId, Session],
        submitter: Submitter,
        auditor: Auditor,
        *,
        router_id: str,
        wall_clock: Callable[[], float],
        start_task: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._submitter = submitter
        self._auditor = auditor
        self._wall_clock = wall_clock
        self._router_id = router_id
        self._start_task = start_task
        self._heartbeat = heartbeat_of(settings)
        self._limits = settings.limits()
        self.handlers: Mapping[str, Handler] = {
            "rpc.discover": self._discover,
            "session.info": self._info,
            "session.ping": self._ping,
            "session.notify": self._notify,
            "session.end": self._end,
        }

    def _discover(self, request: Request, _params: p.Params) -> None:
        request.answer(r.Document(**openrpc_document(version("resroute"))))

    def _info(self, request: Request, _params: p.Params) -> None:
        session = request.session
        info = r.SessionInfo(
            session_id=session.id,
            router_id=self._router_id,
            protocol=session.transport.subprotocol,
            features=(),
            subject=session.subject,
            roles=sorted(session.roles),
            limits=self._limits,
            heartbeat=self._heartbeat,
        )
        if (owner := session.owner) is not None:
            info.instance = r.SessionInstance(service_name=owner.service.name, instance_id=owner.instance_id)
        request.answer(info)

    def _ping(self, request: Request, _params: p.Params) -> None:
        request.answer(r.Result())

    def _notify(self, request: Request, params: p.NotifyParams) -> None:
        notify(request.session, params, request.payload, self._state, self._sessions)
        request.answer(r.Notified(delivered_to_outbox=True))

    def _end(self, request: Request, params: p.EndSessionParams) -> None:
        """Answered once nobody owns any more what that session owned; its own session hears the answer before the end."""
        session = self._sessions.get(params.session_id)
        if session is None:
            self._end_suspended(request, params)
            return
        request.session.log.info(
            "session ended by an administrator",
            operation=request.method.name,
            trace_id=request.trace_id,
            ended_session_id=session.id,
            reason=params.reason,
        )
        self._auditor.ended_by(request, session.id, session.owner, params.reason, self._state.revision)
        ending = Ending(4010, params.reason, "admin")
        if session is request.session:
            request.answer(r.Result())
            session.finish(ending)
            return

        async def answer_once_closed() -> None:
            await session.closed.wait()
            request.answer(r.Result())

        session.end(ending)
        self._start_task(answer_once_closed)

    def _end_suspended(self, request: Request, params: p.EndSessionParams) -> None:
        """A session that was cut off has ended already; what is left of it is what its instance may come back to."""
        owner = self._state.suspended(params.session_id)
        if owner is None:
            raise SessionNotFound(params.session_id)

        def ended(applied: Applied) -> r.Result:
            self._auditor.ended_by(request, params.session_id, owner, params.reason, applied.revision)
            return r.Result()

        self._submitter.submit(
            EndGrace(params.session_id, owner.suspended_until, self._wall_clock(), "admin"),
            self._submitter.when_done(request, ended),
        )
