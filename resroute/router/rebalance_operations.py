"""Instances that take their share: the method ``service.rebalance``."""

from collections import deque
from collections.abc import Mapping
from functools import partial

import attrs
import trio
from msgspec import UNSET

from resroute.errors import InvalidParams, ServiceNotFound
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.means import Means
from resroute.router.moving import work
from resroute.router.rebalancing import Rebalancing
from resroute.router.request import Handler, Request


@attrs.frozen(eq=False)
class _Job:
    request: Request
    params: p.RebalanceServiceParams
    rebalancing: Rebalancing
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class RebalanceOperations:
    """What the method ``service.rebalance`` does: one after the other, so that each sees what those before have moved."""

    def __init__(self, means: Means) -> None:
        self._means = means
        # what is under way, and behind it what waits for its turn
        self._jobs: deque[_Job] = deque()
        self.handlers: Mapping[str, Handler] = {"service.rebalance": self._rebalance}

    def _rebalance(self, request: Request, params: p.RebalanceServiceParams) -> None:
        at_most = self._means.settings.max_bulk_items
        max_moves = at_most if params.max_moves is None else params.max_moves
        if max_moves < 1:
            raise InvalidParams.at("max_moves", "must be at least 1")
        if self._means.log.state.service(params.service_name) is None:
            raise ServiceNotFound(params.service_name)
        rebalancing = Rebalancing(
            self._means,
            lambda applied: self._means.auditor.asked(request, applied),
            params.service_name,
            params.by,
            max_moves=min(max_moves, at_most),
            is_dry=params.dry_run,
        )
        job = _Job(request, params, rebalancing)
        request.when_cancelled = lambda: self._cancel(job)
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._means.tasks.start(self._work)

    async def _work(self) -> None:
        while self._jobs:
            job = self._jobs[0]
            try:
                await work(self._means, job.request, job.scope, job.rebalancing.run, partial(_answer, job))
            finally:
                self._jobs.popleft()

    def _cancel(self, job: _Job) -> None:
        """What is under way is answered once it has come to an end, what waits for its turn at once."""
        if job not in self._jobs:
            return  # the router ends
        if job is self._jobs[0]:
            job.scope.cancel()
        else:
            self._jobs.remove(job)
            _answer(job)


def _answer(job: _Job) -> None:
    request, rebalancing = job.request, job.rebalancing
    result = r.RebalancedService(
        moves=rebalancing.moved,
        transfer_ids=list(rebalancing.transfer_ids.values()),
        has_more=rebalancing.has_more or UNSET,
    )
    if result.moves and not job.params.dry_run:
        request.session.log.info(
            "service rebalanced",
            operation=request.method.name,
            trace_id=request.trace_id,
            service_name=job.params.service_name,
            by=job.params.by,
            count=len(result.moves),
            duration_ms=request.duration_ms(),
        )
    request.answer(result)
