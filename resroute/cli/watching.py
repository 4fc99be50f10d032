"""Printing what becomes of resources, until told to stop."""

import time

import attrs

from resroute.cli.access import open_access
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, note, write
from resroute.cli.showing import as_line
from resroute.client import ResourceEvent

_COLUMNS = ("TIME", "EVENT", "RESOURCE", "OWNER", "CAUSE")


@attrs.frozen
class Wanted:
    """What to watch. What is not given does not restrict."""

    service_name: str | None = None
    instance_id: str | None = None
    resource_ids: tuple[str, ...] = ()
    resource_type: str | None = None
    tags: tuple[str, ...] = ()
    prefix: str | None = None


async def print_events(
    url: str,
    wanted: Wanted,
    interruption: Interruption,
    *,
    from_revision: int | None,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Print each event until a signal comes, and return the exit code. At the end it says how to go on from there.

    Raises:
        ResrouteError: the router cannot be asked, or any more; or it has forgotten what was to be told.
        OutputLost: nobody reads it.
    """
    table = None if as_json else Table(_COLUMNS)
    async with open_access(url, token=token) as router:
        with interruption.breakable():
            async with router.open_watch(
                service_name=wanted.service_name,
                instance_id=wanted.instance_id,
                resource_ids=wanted.resource_ids or None,
                resource_type=wanted.resource_type,
                tags=wanted.tags or None,
                prefix=wanted.prefix,
                from_revision=from_revision,
            ) as events:
                try:
                    if table is not None:
                        write(table.lines(()))
                    async for event in events:
                        write(as_line(event) if table is None else table.lines([_row(event)]))
                finally:
                    note(f"To go on from here: --from-revision {events.revision}")
    return DONE


def _row(event: ResourceEvent) -> tuple[str, ...]:
    owner = event.resource.owner_instance_id
    if event.previous_owner not in (None, owner):
        owner += f" (before: {event.previous_owner})"
    return time.strftime("%H:%M:%S"), event.event, event.resource.resource_id, owner, event.cause
