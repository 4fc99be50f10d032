"""Methods in bulk: those of one session take their turns, one at a time, and hold nothing else of it up."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from resroute.errors import InvalidParams, Unavailable
from resroute.ids import SessionId
from resroute.protocol import params as p
from resroute.protocol.hints import router_stops
from resroute.router.acting import acting_owner
from resroute.router.bulk import Bulk
from resroute.router.means import Means
from resroute.router.probing import Prober
from resroute.router.request import Handler, Request

MAX_BATCH_SIZE = 1000


class BulkOperations:
    """What the methods ``resource.bulk_*`` do.

    Args:
        tidy: called when a bulk may have left something behind.
    """

    def __init__(self, means: Means, prober: Prober, tidy: Callable[[], None]) -> None:
        self._means = means
        self._state = means.log.state
        self._prober = prober
        self._tidy = tidy
        # sessions with a bulk under way -> that one, and those that wait for their turn
        self._waiting: dict[SessionId, deque[Bulk]] = {}
        means.life.when_draining(self._stop)
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
            if self._means.life.is_draining:
                raise router_stops()
            if owner.is_draining:
                raise Unavailable("draining")
        bulk = Bulk(request, params, owner, self._means, self._prober, self._tidy)
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
