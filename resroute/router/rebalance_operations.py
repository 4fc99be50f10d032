"""Instances that take their share: the method ``service.rebalance``."""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio
from msgspec import UNSET

from resroute.cluster.log import Log
from resroute.errors import InternalError, InvalidParams, ServiceNotFound
from resroute.ids import SessionId
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.router.auditing import Auditor
from resroute.router.rebalancing import Rebalancing
from resroute.router.request import Handler, Request
from resroute.router.session import Session
from resroute.settings import Settings


@attrs.frozen(eq=False)
class _Job:
    request: Request
    params: p.RebalanceServiceParams
    rebalancing: Rebalancing
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class RebalanceOperations:
    """What the method ``service.rebalance`` does: one after the other, so that each sees what those before have moved.

    Args:
        start_task: starts a task that lives as long as the router's sessions.
        report: told of exceptions that are bugs and cost one request its answer.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        sessions: Mapping[SessionId, Session],
        auditor: Auditor,
        *,
        randomness: random.Random,
        wall_clock: Callable[[], float],
        turn_clock: Callable[[], float],
        start_task: Callable[[Callable[[], Awaitable[object]]], None],
        report: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._log = log
        self._sessions = sessions
        self._auditor = auditor
        self._random = randomness
        self._wall_clock = wall_clock
        self._turn_clock = turn_clock
        self._start_task = start_task
        self._report = report
        # what is under way, and behind it what waits for its turn
        self._jobs: deque[_Job] = deque()
        self.handlers: Mapping[str, Handler] = {"service.rebalance": self._rebalance}

    def _rebalance(self, request: Request, params: p.RebalanceServiceParams) -> None:
        at_most = self._settings.max_bulk_items
        max_moves = at_most if params.max_moves is None else params.max_moves
        if max_moves < 1:
            raise InvalidParams.at("max_moves", "must be at least 1")
        if self._log.state.service(params.service_name) is None:
            raise ServiceNotFound(params.service_name)
        rebalancing = Rebalancing(
            self._settings,
            self._log,
            self._sessions,
            self._wall_clock,
            self._turn_clock,
            self._random,
            lambda applied: self._auditor.asked(request, applied),
            params.service_name,
            params.by,
            max_moves=min(max_moves, at_most),
            is_dry=params.dry_run,
        )
        job = _Job(request, params, rebalancing)
        request.when_cancelled = lambda: self._cancel(job)
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._start_task(self._work)

    async def _work(self) -> None:
        while self._jobs:
            job = self._jobs[0]
            try:
                with job.scope:
                    await job.rebalancing.run()
            except Exception as error:
                self._report(error)
                job.request.refuse(InternalError())
            else:
                _answer(job)
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
