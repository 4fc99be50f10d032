"""All about one resource, on the command line."""

from collections.abc import Iterator
from typing import Any

from resroute.cli.access import RouterAccess, ask
from resroute.cli.columns import changes, health
from resroute.cli.exits import DONE, NOT_FOUND
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, complain, one_line, to_json, write
from resroute.cli.showing import age, members, outcomes, until
from resroute.client import Explanation, ResourceInfo, ResourceMetadata


async def show_resource(
    url: str, resource_id: str, interruption: Interruption, *, as_json: bool, token: str | None = None
) -> int:
    """Print what the router knows of a resource, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        explanation = await router.explain(resource_id=resource_id)
        if as_json:
            write(to_json(_object(resource_id, explanation), pretty=False))
        elif lines := list(_lines(explanation)):
            write("\n".join(lines))
        if explanation.owner is None:
            complain(f"No instance owns resource {resource_id!r}")
            return NOT_FOUND
        return DONE

    return await ask(url, token, interruption, question)


def _object(resource_id: str, explanation: Explanation) -> dict[str, Any]:
    """The resource, with what else is known about it beside its own members."""
    known = members(explanation)
    resource: dict[str, Any] = known.pop("owner", {"resource_id": resource_id})
    return resource | {
        name: known[name] for name in ("status", "waiters", "recent_calls", "transitions", "trace_id")
    }


def _lines(explanation: Explanation) -> Iterator[str]:
    resource = explanation.owner
    if resource is not None:
        facts = Table(("RESOURCE", one_line(resource.resource_id)))
        yield facts.lines([*_facts(resource, explanation), *_metadata(resource.metadata)])
    if explanation.transitions:
        if resource is not None:
            yield ""
        yield changes(explanation.transitions)


def _facts(resource: ResourceInfo, explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield "OWNER", f"{resource.owner_instance_id} of {resource.service_name}, {health(resource)}"
    yield "SINCE", f"{resource.registered_at:%Y-%m-%d %H:%M:%S} UTC, {age(resource.registered_at)} ago"
    yield "EPOCH", str(resource.epoch)
    if resource.expires_at is not None:
        yield "EXPIRES", f"in {until(resource.expires_at)}"
    last = "" if resource.last_called_at is None else f", the last {age(resource.last_called_at)} ago"
    yield "CALLS", f"{outcomes(explanation.recent_calls)}{last}"
    yield "WAITING", str(explanation.waiters)


def _metadata(metadata: ResourceMetadata | None) -> Iterator[tuple[str, str]]:
    """What it says of itself, as far as it says anything."""
    if metadata is None:
        return
    changed = "" if metadata.last_modified is None else f", {age(metadata.last_modified)} old"
    yield "METADATA", f"version {metadata.version}{changed}, first by {metadata.created_by}"
    for heading, value in (
        ("TYPE", metadata.resource_type or ""),
        ("TAGS", ", ".join(metadata.tags)),
        ("PRIORITY", str(metadata.priority or "")),
        ("TIME TO LIVE", "" if metadata.ttl_seconds is None else f"{metadata.ttl_seconds:g} s"),
        ("ATTRIBUTES", to_json(metadata.attributes, pretty=False) if metadata.attributes else ""),
    ):
        if value:
            yield heading, value
