"""Methods about instances: becoming one, and looking them up."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from resroute.core.commands import Confirm, RegisterInstance
from resroute.core.facts import Applied, Joined, Outcome, Refused
from resroute.errors import AlreadyRegistered, InstanceConflict, InvalidParams
from resroute.ids import InstanceId, ServiceName
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.hints import router_stops
from resroute.router.means import Means
from resroute.router.placement import Pools
from resroute.router.queries import page_of_instances
from resroute.router.request import Handler, Request, heartbeat_of
from resroute.router.session import Session
from resroute.router.submitting import Submitter
from resroute.router.tokens import fingerprint


class InstanceOperations:
    """What the methods ``instance.*`` do."""

    def __init__(self, means: Means, submitter: Submitter, pools: Pools) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._sessions = means.sessions
        self._metrics = means.metrics
        self._clocks = means.clocks
        self._names = means.names
        self._life = means.life
        self._submitter = submitter
        self._pools = pools
        self._heartbeat = heartbeat_of(means.settings)
        self._limits = means.settings.limits()
        self.handlers: Mapping[str, Handler] = {
            "instance.register": self._register,
            "instance.query": self._query,
        }

    def _register(self, request: Request, params: p.RegisterInstanceParams) -> None:
        self._check(request.session, params)
        token = self._names.token()
        command = self._command(request.session, params, token)

        def registered(applied: Applied) -> r.Result:
            joined = applied.result
            assert isinstance(joined, Joined)
            self._become(request, command, joined)
            return r.RegisteredInstance(
                service_name=command.service_name,
                instance_id=command.instance_id,
                session_id=command.session_id,
                resume_token=token,
                resumed_count=joined.resumed_count,
                resumed=dict.fromkeys(joined.resumed, joined.epoch),
                heartbeat=self._heartbeat,
                limits=self._limits,
            )

        def rival(outcome: Outcome) -> Sequence[InstanceId]:
            refused = isinstance(outcome, Refused) and isinstance(outcome.error, InstanceConflict)
            return (command.instance_id,) if refused else ()

        if command.resumes is not None:
            request.session.confirm = partial(self._confirm, request.session)
        self._submitter.submit_contested(command, self._submitter.when_done(request, registered), rival)

    def _check(self, session: Session, params: p.RegisterInstanceParams) -> None:
        if params.max_concurrency is not None and params.max_concurrency < 1:
            raise InvalidParams.at("max_concurrency", "must be at least 1")
        if self._life.is_draining:
            raise router_stops()
        if session.owner is not None:
            raise AlreadyRegistered(session.owner.instance_id)
        at_most = self._settings.max_resume_grace_seconds
        if not 0 <= params.resume_grace_seconds <= at_most:
            raise InvalidParams.at("resume_grace_seconds", f"must be from 0 to {at_most:g}")

    def _command(self, session: Session, params: p.RegisterInstanceParams, token: str) -> RegisterInstance:
        shown = None if params.resume_token is None else fingerprint(params.resume_token)
        return RegisterInstance(
            session.id,
            params.service_name,
            params.instance_id or self._instance_id(params.service_name, session.subject, shown),
            at=self._clocks.wall(),
            priority=params.priority,
            max_concurrency=params.max_concurrency,
            plain=params.plain,
            metadata=None if params.metadata is None else bytes(params.metadata),
            subject=session.subject,
            token=fingerprint(token),
            resumes=shown,
            grace_seconds=params.resume_grace_seconds,
        )

    def _become(self, request: Request, command: RegisterInstance, joined: Joined) -> None:
        """The session is an instance from here on, unless it has ended meanwhile."""
        session = request.session
        owner = self._state.instance_of(session.id)
        if owner is None or session.owner is not None or session.closed.is_set():
            return
        session.become(owner, self._metrics.instance_came(owner.service.name))
        self._pools.add(session)
        about: dict[str, object] = {}
        if command.metadata is not None:
            about["metadata_size_bytes"] = len(command.metadata)
        if joined.took_over is not None:
            about |= {"resumed_session_id": joined.took_over, "resumed": joined.resumed_count}
        session.log.info(
            "instance registered",
            operation="instance.register",
            trace_id=request.trace_id,
            duration_ms=request.duration_ms(),
            **about,
        )

    def _confirm(self, session: Session) -> None:
        """It knows now that it has taken the place of another."""
        session.confirm = None
        self._submitter.submit(Confirm(session.id), lambda _: None)

    def _instance_id(self, service_name: ServiceName, subject: str, shown: bytes | None) -> InstanceId:
        """For whoever names none: that of the instance whose token it shows, or a new one."""
        known = None if shown is None else self._state.instance_known_by(shown)
        if known is not None and (known.service.name, known.subject) == (service_name, subject):
            return known.instance_id
        return self._names.instance(service_name)

    def _query(self, request: Request, params: p.QueryInstancesParams) -> Iterator[None]:
        page = yield from page_of_instances(
            self._state,
            self._sessions,
            params,
            is_admin=request.session.may("admin"),
            settings=self._settings,
        )
        request.answer(page)
