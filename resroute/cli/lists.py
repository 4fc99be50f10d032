"""Lists of what a router knows: tables for people, JSON lines for programs, page by page to the end."""

from collections.abc import Sequence
from typing import Literal

import attrs

from resroute.cli.access import RouterAccess, ask
from resroute.cli.columns import (
    INSTANCE_COLUMNS,
    RANKED_COLUMNS,
    RESOURCE_COLUMNS,
    SERVICE_COLUMNS,
    Columns,
    Service,
    rows,
    services,
)
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, note, write
from resroute.cli.showing import as_line
from resroute.client import InstanceInfo, ResourceInfo

Listed = Literal["resources", "instances", "services", "busiest", "unowned", "conflicts"]


@attrs.frozen
class Filters:
    """What to list. What is not given does not restrict."""

    service_name: str | None = None
    instance_id: str | None = None
    resource_ids: tuple[str, ...] = ()
    resource_type: str | None = None
    tags: tuple[str, ...] = ()
    prefix: str | None = None
    limit: int | None = None
    max_page: int = 1000
    """What a router gives at a time, at most."""

    def page_size(self, seen: int) -> int:
        """How many to ask for after so many."""
        return self.max_page if self.limit is None else min(self.max_page, self.limit - seen)


async def print_list(
    what: Listed,
    url: str,
    filters: Filters,
    interruption: Interruption,
    *,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Print what matches, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        match what:
            case "resources":
                await _print_resources(router, filters, _Printer(what, RESOURCE_COLUMNS, as_json=as_json))
            case "instances":
                await _print_instances(router, filters, _Printer(what, INSTANCE_COLUMNS, as_json=as_json))
            case "services":
                await _print_services(router, filters, _Printer(what, SERVICE_COLUMNS, as_json=as_json))
            case "busiest" | "unowned" | "conflicts":
                ranking = await router.top(what, limit=filters.page_size(0))
                printer = _Printer("such resources", RANKED_COLUMNS, as_json=as_json)
                printer.print(ranking.entries)
                printer.end(len(ranking.entries))
        return DONE

    return await ask(url, token, interruption, question)


async def _print_resources(router: RouterAccess, filters: Filters, printer: "_Printer[ResourceInfo]") -> None:
    cursor = None
    while True:
        page = await router.query_resources(
            service_name=filters.service_name,
            instance_id=filters.instance_id,
            resource_ids=tuple(dict.fromkeys(filters.resource_ids)) or None,
            resource_type=filters.resource_type,
            tags=filters.tags or None,
            prefix=filters.prefix,
            limit=filters.page_size(printer.count),
            cursor=cursor,
        )
        printer.print(page.resources)
        cursor = page.next_cursor
        if cursor is None or printer.count == filters.limit:
            break
    printer.end(page.total_count, is_lower_bound=page.total_count_is_lower_bound)


async def _print_instances(router: RouterAccess, filters: Filters, printer: "_Printer[InstanceInfo]") -> None:
    """One that comes or goes meanwhile may be missed, or be there twice."""
    while True:
        page = await router.query_instances(
            service_name=filters.service_name,
            instance_id=filters.instance_id,
            limit=filters.page_size(printer.count),
            offset=printer.count,
        )
        printer.print(page.instances)
        if not page.has_more or not page.instances or printer.count == filters.limit:
            break
    printer.end(page.total_count)


async def _print_services(router: RouterAccess, filters: Filters, printer: "_Printer[Service]") -> None:
    statistics = await router.router_statistics()
    matching = [it for it in services(statistics) if filters.service_name in (None, it.service_name)]
    printer.print(matching[: filters.limit])
    printer.end(len(matching) + (statistics.services_left_out if filters.service_name is None else 0))


# --- printing -----------------------------------------------------------------------------------------------


class _Printer[T: attrs.AttrsInstance]:
    """Prints pages of one kind of thing, and counts what it has printed."""

    def __init__(self, what: str, columns: Columns[T], *, as_json: bool) -> None:
        self.count = 0
        self._what = what
        self._columns = columns
        self._table = None if as_json else Table(tuple(columns))

    def print(self, things: Sequence[T]) -> None:
        """Print a page."""
        if not things:
            return
        self.count += len(things)
        if self._table is None:
            write("\n".join(map(as_line, things)))
        else:
            write(self._table.lines(rows(self._columns, things)))

    def end(self, total: int, *, is_lower_bound: bool = False) -> None:
        """Say what people may miss, where programs do not see it."""
        if self._table is None:
            return
        if not total:
            note(f"There are no {self._what}, or none that match.")
        elif total > self.count:
            note(f"These are {self.count} of {'at least ' if is_lower_bound else ''}{total} {self._what}.")
