"""The router in numbers, and each of its services."""

import msgspec
import trio
from msgspec import UNSET

from resroute.core.records import ServiceRecord
from resroute.ids import ServiceName
from resroute.protocol import results as r
from resroute.router.flights import Flights
from resroute.router.means import Means
from resroute.router.queries import fitting
from resroute.telemetry.traffic import Traffic, quantile_seconds

SLICE_SECONDS = 0.001


class _Line(msgspec.Struct):
    name: ServiceName
    numbers: r.ServiceStatistics


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds * 1000:.3g}")


class Summary:
    """Sums up what is there and what was counted."""

    def __init__(self, means: Means, flights: Flights) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._sessions = means.sessions
        self._metrics = means.metrics
        self._clocks = means.clocks
        self._life = means.life
        self._flights = flights

    async def count(self) -> r.Statistics:
        """All of it, but for services that do not fit into one message: of those the ones with the fewest calls.

        Services are counted one after the other, so that many of them hold nobody up.
        """
        until = self._clocks.turn() + SLICE_SECONDS
        services: list[_Line] = []
        for name, traffic in list(self._metrics.services.items()):
            services.append(_Line(name, self._service(self._state.service(name), traffic)))
            if self._clocks.turn() > until:
                await trio.lowlevel.checkpoint()
                until = self._clocks.turn() + SLICE_SECONDS
        services.sort(key=lambda line: (-line.numbers.calls_total, line.name))
        kept = fitting(services, self._settings)
        left_out = len(services) - len(kept)
        return r.Statistics(
            sessions=self._state.session_count,
            resources=self._state.resource_count,
            calls_in_flight=self._flights.in_flight,
            uptime_seconds=round(self._life.uptime_seconds(), 3),
            services={line.name: line.numbers for line in kept},
            services_left_out=left_out or UNSET,
        )

    def _service(self, service: ServiceRecord | None, traffic: Traffic) -> r.ServiceStatistics:
        owners = () if service is None else service.instances.values()
        sessions = [self._sessions.get(owner.session_id) for owner in owners]
        suspended = sum(owner.suspended_until is not None for owner in owners)
        lately = traffic.lately()
        return r.ServiceStatistics(
            instances=len(owners) - suspended,
            suspended=suspended,
            resources=0 if service is None else service.resource_count,
            in_flight=sum(len(session.delivered) for session in sessions if session is not None),
            calls_total=traffic.calls_total,
            errors_total=dict(traffic.errors),
            p50_ms=_milliseconds(quantile_seconds(lately, 0.5)),
            p99_ms=_milliseconds(quantile_seconds(lately, 0.99)),
        )
