"""What a router is busy with, again and again: redrawn on a terminal, line after line where somebody else reads."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import trio

from resroute.cli.access import RouterAccess, ask
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, to_json, write
from resroute.cli.showing import milliseconds, span
from resroute.client import RouterStatistics, ServiceStatistics

_COLUMNS = ("SERVICE", "INSTANCES", "RESOURCES", "IN FLIGHT", "CALLS/S", "P50", "P99", "ERRORS/S")
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@attrs.frozen
class Rates:
    """What happened to a service between two looks, for each second of it; None before there were two."""

    calls: float | None
    errors: float | None


@attrs.frozen
class Look:
    """The router in numbers, beside what they were before."""

    now: RouterStatistics
    before: RouterStatistics | None

    @property
    def seconds(self) -> float | None:
        """How long ago that was, on the router's clock."""
        return None if self.before is None else self.now.uptime_seconds - self.before.uptime_seconds

    def rates(self, name: str) -> Rates:
        """Those of one service."""
        if self.before is None or not self.seconds:
            return Rates(None, None)
        now, before = self.now.services[name], self.before.services.get(name)
        return Rates(
            _growth(now.calls_total, 0 if before is None else before.calls_total) / self.seconds,
            _growth(_errors(now), 0 if before is None else _errors(before)) / self.seconds,
        )

    def services(self) -> list[tuple[str, ServiceStatistics, Rates]]:
        """All services, those with the most calls just now first."""
        services = [(name, service, self.rates(name)) for name, service in self.now.services.items()]
        return sorted(services, key=lambda it: (-(it[2].calls or 0), -it[1].in_flight, it[0]))


def _errors(service: ServiceStatistics) -> int:
    return sum(service.errors_total.values())


def _growth(now: int, before: int) -> int:
    """How much was added to a counter, which may have begun again."""
    return now - before if now >= before else now


async def show_top(
    url: str,
    interruption: Interruption,
    *,
    interval_seconds: float,
    count: int | None,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Show what the router is busy with at the end of each interval, and return the exit code.

    On a terminal it is shown at the beginning, too, when there are no rates yet.

    Args:
        count: after how many intervals to end; None: at the first signal.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """
    is_drawn = sys.stdout.isatty() and not as_json

    async def question(router: RouterAccess) -> int:
        before = await router.router_statistics()
        if is_drawn:
            _draw(Look(before, None))
        at, shown = trio.current_time(), 0
        while count is None or shown < count:
            at = max(at + interval_seconds, trio.current_time())
            await trio.sleep_until(at)
            look = Look(await router.router_statistics(), before)
            if is_drawn:
                _draw(look)
            elif as_json:
                write(to_json(_object(look), pretty=False))
            else:
                write("\n".join(_lines(look)) + "\n")
            before, shown = look.now, shown + 1
        return DONE

    return await ask(url, token, interruption, question)


def _draw(look: Look) -> None:
    """Replace what is on the screen, as far as it fits."""
    size = shutil.get_terminal_size()
    lines = [line[: size.columns] for line in _lines(look)]
    room = max(3, size.lines - 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"({len(lines) - room + 1} more)"[: size.columns]]
    write(_HOME_AND_CLEAR + "\n".join(lines))


def _lines(look: Look) -> Iterator[str]:
    now = look.now
    yield (
        f"up {span(now.uptime_seconds)}, sessions {now.sessions}, resources {now.resources}, "
        f"calls in flight {now.calls_in_flight}"
    )
    rows = (
        [
            name,
            str(service.instances),
            str(service.resources),
            str(service.in_flight),
            _rate(rates.calls),
            milliseconds(service.p50_ms),
            milliseconds(service.p99_ms),
            _rate(rates.errors),
        ]
        for name, service, rates in look.services()
    )
    yield from Table(_COLUMNS).lines(rows).split("\n")
    if now.services_left_out:
        yield f"({now.services_left_out} services with fewer calls are left out)"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _object(look: Look) -> dict[str, Any]:
    numbers: dict[str, Any] = msgspec.to_builtins(look.now)
    del numbers["trace_id"]
    for name, service in numbers["services"].items():
        rates = look.rates(name)
        service["calls_per_second"] = _rounded(rates.calls)
        service["errors_per_second"] = _rounded(rates.errors)
    return numbers


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)
