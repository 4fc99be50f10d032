"""The router's own methods: what a request for one of them does, and what it is answered."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import orjson
import trio
from msgspec import Raw

from resroute.cluster.log import Log
from resroute.core.commands import AnyCommand, Register, RegisterInstance, Release
from resroute.core.facts import Outcome, Refused, Registered, Released
from resroute.core.records import OwnerRecord
from resroute.errors import (
    AlreadyRegistered,
    AnswerTooLarge,
    Forbidden,
    InstanceConflict,
    InstanceNotFound,
    InternalError,
    InvalidParams,
    ResourceConflict,
    RouterError,
    ServiceMismatch,
    SessionNotFound,
    Unavailable,
)
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.envelope import RequestId, encode_id, error_message
from resroute.protocol.methods import Method
from resroute.protocol.openrpc import openrpc_document
from resroute.protocol.structure import structure_params
from resroute.router.calls import MAX_EXTRA_BYTES, Batch
from resroute.router.notifying import notify
from resroute.router.placement import Pools
from resroute.router.probing import Prober
from resroute.router.queries import Cursors, page_of_instances, page_of_resources
from resroute.router.session import Session
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.times import rfc3339


class Request:
    """One request for a method of the router's own, until it is answered."""

    __slots__ = ("_metrics", "batch", "id", "method", "session", "started", "trace_id", "wants_meta")

    def __init__(
        self,
        session: Session,
        request_id: RequestId | None,
        method: Method,
        metrics: Metrics,
        *,
        trace_id: str,
        wants_meta: bool,
        batch: Batch | None,
    ) -> None:
        self.session = session
        self.id = request_id
        self.method = method
        self.trace_id = trace_id
        self.wants_meta = wants_meta
        self.batch = batch
        self.started = trio.current_time()
        self._metrics = metrics
        if request_id is not None:
            session.made[request_id] = self
            session.keep(self._size_bytes)
            if batch is not None:
                batch.expect(request_id)

    @property
    def _size_bytes(self) -> int:
        """What it keeps in memory that a peer can make large: its id."""
        return len(self.id) if isinstance(self.id, str) else 0

    def answer(self, result: r.Result | r.Document) -> None:
        """Answer with a result."""
        self._metrics.count_operation(self.method.name, "ok")
        if self.id is None:
            return
        if isinstance(result, r.Result):
            result.trace_id = self.trace_id
        message = b'{"jsonrpc":"2.0","id":%b,"result":%b' % (encode_id(self.id), r.encode_result(result))
        if self.wants_meta:
            message += b',"meta":%b' % orjson.dumps(self._meta())
        self._send(message + b"}")

    def refuse(self, error: RouterError) -> None:
        """Answer with an error."""
        self._metrics.count_operation(self.method.name, error.type)
        if self.id is None:
            return
        error.trace_id = self.trace_id
        self._send(error_message(self.id, error, self._meta() if self.wants_meta else None))

    def _meta(self) -> dict[str, object]:
        return {
            "trace_id": self.trace_id,
            "duration_ms": round((trio.current_time() - self.started) * 1000, 3),
        }

    def _send(self, message: bytes) -> None:
        assert self.id is not None
        limit = self.session.settings.max_message_bytes
        if len(message) > limit + MAX_EXTRA_BYTES:
            message = error_message(self.id, AnswerTooLarge(limit, trace_id=self.trace_id))
        if self.session.made.pop(self.id, None) is not None:
            self.session.keep(-self._size_bytes)
        self.session.answer(self.id, message, self.trace_id, self.batch)


def _note(request: Request, event: str, resource_ids: Sequence[ResourceId]) -> None:
    """Log that a request has changed who owns what. At debug: nothing is worked out that costs more than the call."""
    if len(resource_ids) == 1:
        request.session.log.debug(
            event,
            operation=request.method.name,
            trace_id=request.trace_id,
            count=1,
            resource_id=resource_ids[0],
        )
    elif resource_ids:
        request.session.log.debug(
            event, operation=request.method.name, trace_id=request.trace_id, count=len(resource_ids)
        )


Handler = Callable[[Request, Any], None]


class Operations:
    """What each of the router's own methods does. Handlers answer now or, by callback from the log, later."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        sessions: Mapping[SessionId, Session],
        metrics: Metrics,
        pools: Pools,
        *,
        router_id: str,
        wall_clock: Callable[[], float],
        refuses_instances: Callable[[], bool],
        prober: Prober,
    ) -> None:
        self._settings = settings
        self._log = log
        self._sessions = sessions
        self._metrics = metrics
        self._pools = pools
        self._router_id = router_id
        self._wall_clock = wall_clock
        self._refuses_instances = refuses_instances
        self._prober = prober
        self._cursors = Cursors(secrets.token_bytes(16))
        self._heartbeat = r.HeartbeatInfo(
            interval_seconds=settings.heartbeat.interval_seconds,
            timeout_seconds=settings.heartbeat.timeout_seconds,
        )
        self._limits = settings.limits()
        self._handlers: dict[str, Handler] = {
            "rpc.discover": self._discover,
            "session.info": self._session_info,
            "session.ping": self._session_ping,
            "session.notify": self._session_notify,
            "instance.register": self._instance_register,
            "instance.query": self._instance_query,
            "resource.register": self._resource_register,
            "resource.release": self._resource_release,
            "resource.query": self._resource_query,
        }

    def start(self, request: Request, params: Raw | None) -> None:
        """Do what a request asks for. It is answered exactly once, by the end of this or later."""
        method = request.method
        try:
            values = structure_params(
                params,
                method.params,
                max_items=self._settings.max_bulk_items,
                max_object_bytes=self._settings.max_metadata_bytes,
            )
            if method.role is not None and not request.session.may(method.role):
                raise Forbidden(method.role)
            self._handlers[method.name](request, values)
        except RouterError as error:
            request.refuse(error)
        except Exception:
            request.session.log.exception("request failed", operation=method.name, trace_id=request.trace_id)
            request.refuse(InternalError())

    def _when_applied(
        self,
        request: Request,
        then: Callable[[Any], r.Result],
        *,
        on_behalf_of: InstanceId | None = None,
    ) -> Callable[[Outcome], None]:
        """Answer once the log has decided: a refusal as it is, a result as ``then`` says.

        ``on_behalf_of`` is the instance that the request is about. It may have gone before the log came to it.
        """

        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                error = outcome.error
                if isinstance(error, SessionNotFound) and on_behalf_of is not None:
                    error = InstanceNotFound(on_behalf_of)
                request.refuse(self._explained(error))
                return
            try:
                result = then(outcome.result)
            except Exception:
                request.session.log.exception(
                    "answer failed", operation=request.method.name, trace_id=request.trace_id
                )
                request.refuse(InternalError())
                return
            request.answer(result)

        return answer

    def _submit_contested(
        self,
        command: AnyCommand,
        answer: Callable[[Outcome], None],
        rivals_in: Callable[[Outcome], Sequence[InstanceId]],
    ) -> None:
        """Submit a command that rivals may stand in the way of, and once more if they turn out to be gone."""

        def answer_or_probe(outcome: Outcome) -> None:
            owners = (self._log.state.instance(rival) for rival in rivals_in(outcome))
            rivals = [self._sessions.get(owner.session_id) for owner in owners if owner is not None]
            if not rivals or not self._prober.probe(rivals, lambda: self._log.submit(command, answer)):
                answer(outcome)

        self._log.submit(command, answer_or_probe)

    # --- sessions and instances -------------------------------------------------------------------------------

    def _discover(self, request: Request, _params: p.Params) -> None:
        request.answer(r.Document(**openrpc_document(version("resroute"))))

    def _session_info(self, request: Request, _params: p.Params) -> None:
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

    def _session_ping(self, request: Request, _params: p.Params) -> None:
        request.answer(r.Result())

    def _session_notify(self, request: Request, params: p.NotifyParams) -> None:
        notify(request.session, params, self._log.state, self._sessions)
        request.answer(r.Notified(delivered_to_outbox=True))

    def _instance_register(self, request: Request, params: p.RegisterInstanceParams) -> None:
        session = request.session
        if params.max_concurrency is not None and params.max_concurrency < 1:
            raise InvalidParams.at("max_concurrency", "must be at least 1")
        if self._refuses_instances():
            raise Unavailable("draining")
        if session.owner is not None:
            raise AlreadyRegistered(session.owner.instance_id)
        command = RegisterInstance(
            session.id,
            params.service_name,
            params.instance_id or InstanceId(f"{params.service_name[:200]}-{secrets.token_hex(8)}"),
            at=self._wall_clock(),
            priority=params.priority,
            max_concurrency=params.max_concurrency,
            plain=params.plain,
            metadata=params.metadata,
        )

        def registered(_result: None) -> r.Result:
            owner = self._log.state.instance_of(session.id)
            if owner is not None and session.owner is None and not session.closed.is_set():
                session.become(owner)
                self._pools.add(session)
                session.log.info(
                    "instance registered", operation="instance.register", trace_id=request.trace_id
                )
            return r.RegisteredInstance(
                service_name=command.service_name,
                instance_id=command.instance_id,
                session_id=session.id,
                heartbeat=self._heartbeat,
                limits=self._limits,
            )

        def rival(outcome: Outcome) -> Sequence[InstanceId]:
            refused = isinstance(outcome, Refused) and isinstance(outcome.error, InstanceConflict)
            return (command.instance_id,) if refused else ()

        self._submit_contested(command, self._when_applied(request, registered), rival)

    def _instance_query(self, request: Request, params: p.QueryInstancesParams) -> None:
        request.answer(
            page_of_instances(
                self._log.state,
                self._sessions,
                params,
                is_admin=request.session.may("admin"),
                settings=self._settings,
            )
        )

    # --- resources --------------------------------------------------------------------------------------------

    def _resource_register(self, request: Request, params: p.RegisterResourcesParams) -> None:
        session = request.session
        self._check_ids(params.resource_ids)
        if params.force and not session.may("admin"):
            raise Forbidden("admin")
        owner = self._acts_for(session, params.service_name, params.instance_id)
        if self._refuses_instances():
            raise Unavailable("draining")
        command = Register(
            owner.session_id,
            tuple(params.resource_ids),
            at=self._wall_clock(),
            limit=self._settings.max_resources_per_instance,
            partial=params.partial,
            force=params.force,
        )

        def registered(result: Registered) -> r.Result:
            ids = tuple(result.epochs)
            _note(request, "resources registered", ids)
            return r.RegisteredResources(
                success=not result.conflicts,
                registered=ids,
                conflicts=result.conflicts,
                epochs=result.epochs,
            )

        def rivals(outcome: Outcome) -> Sequence[InstanceId]:
            if isinstance(outcome, Refused) and isinstance(outcome.error, ResourceConflict):
                return tuple(outcome.error.conflicts.values())
            return ()

        answer = self._when_applied(request, registered, on_behalf_of=owner.instance_id)
        # what is granted in part must be told at once, so whoever is in the way is asked before
        is_in_part = params.partial and not params.force
        owners = self._owners_of(command.resource_ids) if is_in_part else ()
        if not self._prober.probe(owners, lambda: self._log.submit(command, answer)):
            self._submit_contested(command, answer, rivals)

    def _owners_of(self, resource_ids: Sequence[ResourceId]) -> Iterator[Session | None]:
        grants = map(self._log.state.grant_of, resource_ids)
        return (self._sessions.get(grant.owner.session_id) for grant in grants if grant is not None)

    def _resource_release(self, request: Request, params: p.ReleaseResourcesParams) -> None:
        self._check_ids(params.resource_ids)
        owner = self._acts_for(request.session, None, None)

        def released(result: Released) -> r.Result:
            _note(request, "resources released", result.released)
            return r.ReleasedResources(
                success=not result.failed, released=result.released, failed=result.failed
            )

        command = Release(owner.session_id, tuple(params.resource_ids), params.partial)
        self._log.submit(command, self._when_applied(request, released))

    def _resource_query(self, request: Request, params: p.QueryResourcesParams) -> None:
        request.answer(
            page_of_resources(
                self._log.state,
                self._sessions,
                params,
                cursors=self._cursors,
                settings=self._settings,
                wall_time_of=lambda at: self._wall_clock() - trio.current_time() + at,
            )
        )

    def _acts_for(
        self, session: Session, service_name: ServiceName | None, instance_id: InstanceId | None
    ) -> OwnerRecord:
        """The instance that a request is about: the session's own, or for administrators the one they name."""
        own = session.owner
        is_own = own is not None and instance_id in (None, own.instance_id)
        if not session.may("admin") and (
            (instance_id is not None and not is_own)
            or (own is not None and service_name not in (None, own.service.name))
        ):
            raise Forbidden("admin" if own is not None else "instance.register")
        owner = own if is_own else self._log.state.instance(instance_id) if instance_id is not None else None
        if owner is None:
            if instance_id is not None:
                raise InstanceNotFound(instance_id)
            raise Forbidden("instance.register")
        if service_name not in (None, owner.service.name):
            raise ServiceMismatch(str(service_name), instance_id=owner.instance_id)
        return owner

    @staticmethod
    def _check_ids(resource_ids: Sequence[ResourceId]) -> None:
        if not resource_ids:
            raise InvalidParams.at("resource_ids", "must not be empty")
        if len(set(resource_ids)) != len(resource_ids):
            seen: set[ResourceId] = set()
            for index, resource_id in enumerate(resource_ids):
                if resource_id in seen:
                    raise InvalidParams.at(f"resource_ids.{index}", f"{resource_id!r} is there twice")
                seen.add(resource_id)

    def _explained(self, error: RouterError) -> RouterError:
        """A conflict over a single id says all about its owner."""
        if isinstance(error, ResourceConflict) and len(error.conflicts) == 1:
            [resource_id] = error.conflicts
            grant = self._log.state.grant_of(resource_id)
            if grant is not None:
                error.resource_id = resource_id
                error.owner_instance_id = grant.owner.instance_id
                error.epoch = grant.epoch
                error.since = rfc3339(grant.registered_at)
                owner = self._sessions.get(grant.owner.session_id)
                error.owner_healthy = owner is not None and owner.is_responsive
        return error
