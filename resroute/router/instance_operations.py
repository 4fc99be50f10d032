"""Methods about instances: becoming one, and looking them up."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from resroute.core.commands import Confirm, RegisterInstance
from resroute.core.facts import Applied, Joined, Outcome, Refused
from resroute.core.state import State
from resroute.errors import AlreadyRegistered, InstanceConflict, InvalidParams
from resroute.ids import InstanceId, ServiceName, SessionId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.hints import router_stops
from resroute.router.placement import Pools
from resroute.router.queries import page_of_instances
from resroute.router.request import Handler, Request, heartbeat_of
from resroute.router.session import Session
from resroute.router.submitting import Submitter
from resroute.router.tokens import fingerprint
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics


class InstanceOperations:
    """What the methods ``instance.*`` do."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        sessions: Mapping[SessionId, Session],
        submitter: Submitter,
        pools: Pools,
        metrics: Metrics,
        *,
        wall_clock: Callable[[], float],
        randomness: random.Random,
        make_token: Callable[[], str],
        refuses_instances: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._state = state
        self._sessions = sessions
        self._submitter = submitter
        self._pools = pools
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._random = randomness
        self._make_token = make_token
        self._refuses_instances = refuses_instances
        self._heartbeat = heartbeat_of(settings)
        self._limits = settings.limits()
        self.handlers: Mapping[str, Handler] = {
            "instance.register": self._register,
            "instance.query": self._query,
        }

    def _register(self, request: Request, params: p.RegisterInstanceParams) -> None:
        session = request.session
        if params.max_concurrency is not None and params.max_concurrency < 1:
            raise InvalidParams.at("max_concurrency", "must be at least 1")
        if self._refuses_instances():
            raise router_stops()
        if session.owner is not None:
            raise AlreadyRegistered(session.owner.instance_id)
        at_most = self._settings.max_resume_grace_seconds
        if not 0 <= params.resume_grace_seconds <= at_most:
            raise InvalidParams.at("resume_grace_seconds", f"must be from 0 to {at_most:g}")
        metadata = None if params.metadata is None else bytes(params.metadata)
        token = self._make_token()
        shown = None if params.resume_token is None else fingerprint(params.resume_token)
        command = RegisterInstance(
            session.id,
            params.service_name,
            params.instance_id or self._instance_id(params.service_name, session.subject, shown),
            at=self._wall_clock(),
            priority=params.priority,
            max_concurrency=params.max_concurrency,
            plain=params.plain,
            metadata=metadata,
            subject=session.subject,
            token=fingerprint(token),
            resumes=shown,
            grace_seconds=params.resume_grace_seconds,
        )

        def confirm() -> None:
            session.confirm = None
            self._submitter.submit(Confirm(session.id), lambda _: None)

        def registered(applied: Applied) -> r.Result:
            joined = applied.result
            assert isinstance(joined, Joined)
            owner = self._state.instance_of(session.id)
            if owner is not None and session.owner is None and not session.closed.is_set():
                session.become(owner, self._metrics.instance_came(owner.service.name))
                self._pools.add(session)
                about: dict[str, object] = {}
                if metadata is not None:
                    about["metadata_size_bytes"] = len(metadata)
                if joined.took_over is not None:
                    about |= {"resumed_session_id": joined.took_over, "resumed": joined.resumed_count}
                session.log.info(
                    "instance registered",
                    operation="instance.register",
                    trace_id=request.trace_id,
                    duration_ms=request.duration_ms(),
                    **about,
                )
            return r.RegisteredInstance(
                service_name=command.service_name,
                instance_id=command.instance_id,
                session_id=session.id,
                resume_token=token,
                resumed_count=joined.resumed_count,
                resumed=dict.fromkeys(joined.resumed, joined.epoch),
                heartbeat=self._heartbeat,
                limits=self._limits,
            )

        def rival(outcome: Outcome) -> Sequence[InstanceId]:
            refused = isinstance(outcome, Refused) and isinstance(outcome.error, InstanceConflict)
            return (command.instance_id,) if refused else ()

        if shown is not None:
            session.confirm = confirm
        self._submitter.submit_contested(command, self._submitter.when_done(request, registered), rival)

    def _instance_id(self, service_name: ServiceName, subject: str, shown: bytes | None) -> InstanceId:
        """For whoever names none: that of the instance whose token it shows, or a new one."""
        known = None if shown is None else self._state.instance_known_by(shown)
        if known is not None and (known.service.name, known.subject) == (service_name, subject):
            return known.instance_id
        return InstanceId(f"{service_name[:200]}-{self._random.getrandbits(64):016x}")

    def _query(self, request: Request, params: p.QueryInstancesParams) -> Iterator[None]:
        page = yield from page_of_instances(
            self._state,
            self._sessions,
            params,
            is_admin=request.session.may("admin"),
            settings=self._settings,
        )
        request.answer(page)
