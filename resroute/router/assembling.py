"""Puts a router together: each part is given those that it builds on."""

import secrets

import trio

from resroute.ids import SessionId
from resroute.router.alarm import Alarm
from resroute.router.bulk_operations import BulkOperations
from resroute.router.close_ups import CloseUps
from resroute.router.dispatch import Dispatch
from resroute.router.drain_operations import DrainOperations
from resroute.router.explaining import Explainer
from resroute.router.flapping import Flapping
from resroute.router.following import OwnershipFollower
from resroute.router.gauges import Gauges
from resroute.router.hosting import Host
from resroute.router.insight_operations import InsightOperations
from resroute.router.instance_calls import CallsView
from resroute.router.instance_operations import InstanceOperations
from resroute.router.means import Means
from resroute.router.operations import Operations
from resroute.router.owner_changes import OwnerChanges
from resroute.router.probing import Prober
from resroute.router.rebalance_operations import RebalanceOperations
from resroute.router.relieving import make_memory
from resroute.router.rerouting import Rerouting
from resroute.router.resource_operations import ResourceOperations
from resroute.router.resource_pages import ResourcePages
from resroute.router.routing import Routing
from resroute.router.session import Session
from resroute.router.session_operations import SessionOperations
from resroute.router.setting_aside import SettingAside
from resroute.router.submitting import Submitter
from resroute.router.summary import Summary
from resroute.router.tracing import Tracing
from resroute.router.transfer_operations import TransferOperations
from resroute.router.turnstile import Turnstile
from resroute.router.upkeep import Upkeep
from resroute.router.waiting import WaitingRegistrations
from resroute.router.watch_operations import WatchOperations
from resroute.router.watching import Watching


class Parts:
    """The parts of a router.

    Args:
        sessions: those of ``means``, which the host alone adds to and takes from.
        tracing: there if traces are wanted.
    """

    def __init__(self, means: Means, sessions: dict[SessionId, Session], tracing: Tracing | None) -> None:
        settings, metrics = means.settings, means.metrics
        self.memory = make_memory(settings.max_outbox_total_bytes, sessions)
        self.turnstile = Turnstile(means.clocks.turn)
        self.deadline_alarm = Alarm()
        self.prober = Prober(settings, means.tasks)
        self.flapping = Flapping(settings.flap_threshold, metrics, trio.current_time)
        self.upkeep = Upkeep(means.log, means.clocks)
        self.watching = Watching(means, self.memory)
        self.waiting = WaitingRegistrations(means, self.prober)
        self.routing = Routing(means, self.deadline_alarm.no_later_than, tracing)
        self.rerouting = Rerouting(self.routing.flights, self.routing.pools, means.tally)
        self.owner_changes = OwnerChanges()
        self.close_ups = CloseUps()
        self.follower = OwnershipFollower(
            means,
            self.rerouting,
            self.watching,
            self.waiting,
            self.owner_changes,
            self.upkeep,
            self.flapping,
        )
        self.dispatch = Dispatch(settings, self.routing, make_operations(means, self), metrics, tracing)
        self.host = Host(
            means,
            sessions,
            self.memory,
            self.turnstile,
            self.dispatch,
            self.rerouting,
            self.owner_changes,
            self.watching.watches,
            self.close_ups,
        )
        self.gauges = Gauges(means, self.routing.flights, self.watching.watches, self.memory)
        self.calls = CallsView(means.log.state, sessions, self.close_ups)


def make_operations(means: Means, parts: Parts) -> Operations:
    """All of the router's own methods."""
    settings, state, sessions = means.settings, means.log.state, means.sessions
    routing, watching, upkeep = parts.routing, parts.watching, parts.upkeep
    submitter = Submitter(means, parts.prober)
    pages = ResourcePages(
        settings,
        state,
        sessions,
        key=secrets.token_bytes(16),
        wall_time_of=means.clocks.wall_time_of,
    )
    explainer = Explainer(means, routing, parts.flapping)
    summary = Summary(means, routing.flights)
    groups = (
        SessionOperations(means, submitter),
        InstanceOperations(means, submitter, routing.pools),
        ResourceOperations(means, submitter, parts.waiting, SettingAside(means, upkeep.reclaimer.wake)),
        pages,
        WatchOperations(state, watching.watches, pages),
        DrainOperations(means),
        RebalanceOperations(means),
        TransferOperations(means, submitter),
        BulkOperations(means, parts.prober, tidy=upkeep.reclaimer.wake),
        InsightOperations(means, watching.lookback, explainer, summary),
    )
    return Operations(settings, *[group.handlers for group in groups])
