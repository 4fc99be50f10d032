"""Instances that take their share: the method ``service.rebalance``."""

import random
from collections.abc import Awaitable, Callable, Mapping

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
        self._turn = trio.Lock()
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
        scope = trio.CancelScope()
        request.when_cancelled = scope.cancel

        async def run() -> None:
            try:
                with scope:
                    async with self._turn:
                        await rebalancing.run()
            except Exception as error:
                self._report(error)
                request.refuse(InternalError())
            else:
                result = r.RebalancedService(
                    moves=rebalancing.moved,
                    transfer_ids=list(rebalancing.transfer_ids.values()),
                    has_more=rebalancing.has_more or UNSET,
                )
                if result.moves and not params.dry_run:
                    _log_moves(request, params, len(result.moves))
                request.answer(result)

        self._start_task(run)


def _log_moves(request: Request, params: p.RebalanceServiceParams, count: int) -> None:
    request.session.log.info(
        "service rebalanced",
        operation=request.method.name,
        trace_id=request.trace_id,
        service_name=params.service_name,
        by=params.by,
        count=count,
        duration_ms=request.duration_ms(),
    )
