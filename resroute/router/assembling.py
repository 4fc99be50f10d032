"""Puts the parts together that do what the router's own methods ask for."""

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping

import trio

from resroute.cluster.log import Log
from resroute.ids import SessionId
from resroute.router.auditing import Auditor
from resroute.router.bulk_operations import BulkOperations
from resroute.router.drain_operations import DrainOperations
from resroute.router.explaining import Explainer
from resroute.router.flapping import Flapping
from resroute.router.insight_operations import InsightOperations
from resroute.router.instance_operations import InstanceOperations
from resroute.router.lookback import Lookback
from resroute.router.moving import Means
from resroute.router.operations import Operations, SessionOperations
from resroute.router.probing import Prober
from resroute.router.rebalance_operations import RebalanceOperations
from resroute.router.resource_operations import ResourceOperations
from resroute.router.resource_pages import ResourcePages
from resroute.router.routing import Routing
from resroute.router.session import Session
from resroute.router.submitting import Submitter
from resroute.router.summary import Summary
from resroute.router.tally import Tally
from resroute.router.transfer_operations import TransferOperations
from resroute.router.waiting import WaitingRegistrations
from resroute.router.watch_operations import WatchOperations
from resroute.router.watches import Watches
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics


def make_operations(
    settings: Settings,
    log: Log,
    sessions: Mapping[SessionId, Session],
    routing: Routing,
    metrics: Metrics,
    tally: Tally,
    lookback: Lookback,
    watches: Watches,
    prober: Prober,
    waiting: WaitingRegistrations,
    auditor: Auditor,
    flapping: Flapping,
    *,
    router_id: str,
    wall_clock: Callable[[], float],
    turn_clock: Callable[[], float],
    randomness: random.Random,
    make_token: Callable[[], str],
    uptime_seconds: Callable[[], float],
    is_draining: Callable[[], bool],
    start_task: Callable[[Callable[[], Awaitable[object]]], None],
    report: Callable[[Exception], None],
    tidy: Callable[[], None],
    when_draining: Callable[[Callable[[], None]], None],
) -> Operations:
    """All of the router's own methods.

    Args:
        start_task: starts a task that lives as long as the router's sessions.
        report: told of exceptions that are bugs and cost no session anything.
        tidy: called when something may have been left behind.
        when_draining: takes what is to be called when the router begins to drain.
    """

    def wall_time_of(at: float) -> float:
        return wall_clock() - trio.current_time() + at

    state = log.state
    submitter = Submitter(log, sessions, prober, auditor)
    explainer = Explainer(
        settings,
        state,
        sessions,
        routing.pools,
        metrics,
        look_ahead=routing.flights.look_ahead,
        refuses_calls=is_draining,
        wall_time_of=wall_time_of,
        waiting_for_owner=routing.flights.without_owner.count,
        is_flapping=flapping.is_flapping,
    )
    summary = Summary(
        settings,
        state,
        sessions,
        metrics,
        turn_clock=turn_clock,
        count_calls=lambda: len(routing.flights.deadlines),
        uptime_seconds=uptime_seconds,
    )
    pages = ResourcePages(settings, state, sessions, key=secrets.token_bytes(16), wall_time_of=wall_time_of)
    means = Means(settings, log, sessions, auditor, randomness, wall_clock, turn_clock, start_task, report)
    return Operations(
        settings,
        SessionOperations(
            settings,
            state,
            sessions,
            submitter,
            auditor,
            router_id=router_id,
            wall_clock=wall_clock,
            start_task=start_task,
        ).handlers,
        InstanceOperations(
            settings,
            state,
            sessions,
            submitter,
            routing.pools,
            metrics,
            wall_clock=wall_clock,
            randomness=randomness,
            make_token=make_token,
            refuses_instances=is_draining,
        ).handlers,
        ResourceOperations(
            settings,
            state,
            sessions,
            submitter,
            tally,
            waiting,
            wall_clock=wall_clock,
            wall_time_of=wall_time_of,
            refuses_instances=is_draining,
        ).handlers,
        pages.handlers,
        WatchOperations(state, watches, pages).handlers,
        DrainOperations(means).handlers,
        RebalanceOperations(means).handlers,
        TransferOperations(
            settings, state, sessions, submitter, metrics, randomness=randomness, wall_clock=wall_clock
        ).handlers,
        BulkOperations(
            settings,
            log,
            sessions,
            prober,
            tally,
            metrics,
            auditor,
            wall_clock=wall_clock,
            turn_clock=turn_clock,
            refuses_instances=is_draining,
            tidy=tidy,
            when_draining=when_draining,
        ).handlers,
        InsightOperations(
            state,
            tally,
            lookback,
            explainer,
            summary,
            wall_time_of=wall_time_of,
            turn_clock=turn_clock,
            start_task=start_task,
            report=report,
        ).handlers,
    )
