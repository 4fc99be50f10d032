"""Methods about sessions: what one is told of itself, what one tells others, and how one is ended."""

from collections.abc import Mapping
from importlib.metadata import version

from resroute.core.commands import EndGrace
from resroute.core.facts import Applied
from resroute.errors import SessionNotFound
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.openrpc import openrpc_document
from resroute.router.endings import Ending
from resroute.router.means import Means
from resroute.router.notifying import notify
from resroute.router.request import Handler, Request, heartbeat_of
from resroute.router.submitting import Submitter


class SessionOperations:
    """What the methods ``rpc.*`` and ``session.*`` do."""

    def __init__(self, means: Means, submitter: Submitter) -> None:
        self._state = means.log.state
        self._sessions = means.sessions
        self._auditor = means.auditor
        self._clocks = means.clocks
        self._tasks = means.tasks
        self._submitter = submitter
        self._router_id = means.names.router_id
        self._heartbeat = heartbeat_of(means.settings)
        self._limits = means.settings.limits()
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
        self._tasks.start(answer_once_closed)

    def _end_suspended(self, request: Request, params: p.EndSessionParams) -> None:
        """A session that was cut off has ended already; what is left of it is what its instance may come back to."""
        owner = self._state.suspended(params.session_id)
        if owner is None:
            raise SessionNotFound(params.session_id)

        def ended(applied: Applied) -> r.Result:
            self._auditor.ended_by(request, params.session_id, owner, params.reason, applied.revision)
            return r.Result()

        self._submitter.submit(
            EndGrace(params.session_id, owner.suspended_until, self._clocks.wall(), "admin"),
            self._submitter.when_done(request, ended),
        )
