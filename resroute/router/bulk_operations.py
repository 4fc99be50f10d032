"""Methods in bulk: those of one session take their turns, one at a time, and hold nothing else of it up."""

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from resroute.cluster.log import Log
from resroute.errors import InvalidParams, Unavailable
from resroute.ids import BulkId, ResourceId, SessionId
from resroute.protocol import params as p
from resroute.protocol.hints import router_stops
from resroute.router.acting import acting_owner
from resroute.router.auditing import Auditor
from resroute.router.bulk import Bulk, Means
from resroute.router.probing import Prober
from resroute.router.request import Handler, Request
from resroute.router.session import Session
from resroute.router.tally import Tally
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

MAX_BATCH_SIZE = 1000


class BulkOperations:
    """What the methods ``resource.bulk_*`` do."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        sessions: Mapping[SessionId, Session],
        prober: Prober,
        tally: Tally,
        metrics: Metrics,
        auditor: Auditor,
        *,
        wall_clock: Callable[[], float],
        turn_clock: Callable[[], float],
        refuses_instances: Callable[[], bool],
        tidy: Callable[[], None],
        when_draining: Callable[[Callable[[], None]], None],
    ) -> None:
        self._state = log.state
        self._sessions = sessions
        self._metrics = metrics
        self._tidy = tidy
        self._refuses_instances = refuses_instances
        self._number = itertools.count(1)
        # sessions with a bulk under way -> that one, and those that wait for their turn
        self._waiting: dict[SessionId, deque[Bulk]] = {}
        when_draining(self._stop)
        self._means = Means(
            settings,
            log,
            prober,
            auditor,
            session_of=self._session_of,
            wall_clock=wall_clock,
            turn_clock=turn_clock,
            refuses_instances=refuses_instances,
            conflicted=tally.conflicted,
            registered=tally.registered,
            batch_ended=self._batch_ended,
            ended=self._ended,
        )
        self.handlers: Mapping[str, Handler] = {
            "resource.bulk_register": self._register,
            "resource.bulk_release": self._release,
        }

    def _register(self, request: Request, params: p.BulkRegisterParams) -> None:
        self._begin(request, params, params.resources, "resources")

    def _release(self, request: Request, params: p.BulkReleaseParams) -> None:
        self._begin(request, params, params.resource_ids, "resource_ids")

    def _begin(
        self,
        request: Request,
        params: p.BulkRegisterParams | p.BulkReleaseParams,
        items: Sequence[object],
        name: str,
    ) -> None:
        if not items:
            raise InvalidParams.at(name, "must not be empty")
        if not 1 <= params.batch_size <= MAX_BATCH_SIZE:
            raise InvalidParams.at("batch_size", f"must be from 1 to {MAX_BATCH_SIZE}")
        session = request.session
        owner = acting_owner(self._state, session, params.service_name, params.instance_id)
        if isinstance(params, p.BulkRegisterParams):
            if self._refuses_instances():
                raise router_stops()
            if owner.is_draining:
                raise Unavailable("draining")
        bulk = Bulk(request, params, owner, self._means, self._next_id)
        if session.id in self._waiting:
            self._waiting[session.id].append(bulk)
            return
        self._waiting[session.id] = deque([bulk])
        session.start_task(lambda: self._work(session.id))

    async def _work(self, session_id: SessionId) -> None:
        """Work off what a session asks for in bulk, one after the other."""
        waiting = self._waiting[session_id]
        try:
            while waiting:
                if not waiting[0].is_over:
                    await waiting[0].run()
                waiting.popleft()
        finally:
            del self._waiting[session_id]

    def _stop(self) -> None:
        for bulk in [bulk for waiting in self._waiting.values() for bulk in waiting]:
            bulk.stop()

    def _next_id(self) -> BulkId:
        return BulkId(f"bulk-{next(self._number)}")

    def _session_of(self, resource_id: ResourceId) -> Session | None:
        grant = self._state.grant_of(resource_id)
        return None if grant is None else self._sessions.get(grant.owner.session_id)

    def _batch_ended(self, method: str, seconds: float) -> None:
        self._metrics.count_batch(method.removeprefix("resource.bulk_"), seconds)

    def _ended(self, method: str, status: str) -> None:
        self._metrics.count_bulk(method.removeprefix("resource.bulk_"), status)
        self._tidy()
