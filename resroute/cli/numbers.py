"""A router in numbers, on the command line."""

from collections.abc import Iterator

import attrs

from resroute.cli.access import RouterAccess, ask
from resroute.cli.columns import SERVICE_COLUMNS, Service, rows, services
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, to_json, write
from resroute.cli.showing import members, span
from resroute.client import RouterStatistics


async def print_statistics(
    url: str, interruption: Interruption, *, as_json: bool, token: str | None = None
) -> int:
    """Print what there is, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        statistics = await router.router_statistics()
        if as_json:
            write(to_json(members(attrs.evolve(statistics, trace_id=None)), pretty=False))
        else:
            write("\n".join(_lines(statistics)))
        return DONE

    return await ask(url, token, interruption, question)


def _lines(statistics: RouterStatistics) -> Iterator[str]:
    facts = (
        ("SESSIONS", str(statistics.sessions)),
        ("RESOURCES", str(statistics.resources)),
        ("IN FLIGHT", str(statistics.calls_in_flight)),
    )
    yield Table(("UP", span(statistics.uptime_seconds))).lines(facts)
    named: list[Service] = services(statistics)
    if named:
        yield ""
        yield Table(tuple(SERVICE_COLUMNS)).lines(rows(SERVICE_COLUMNS, named))
    if statistics.services_left_out:
        yield f"({statistics.services_left_out} services with fewer calls are left out)"
