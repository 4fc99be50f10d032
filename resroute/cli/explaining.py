"""Why a call would go where it would go, on the command line."""

from collections.abc import Iterator

from resroute.cli.access import RouterAccess, ask
from resroute.cli.columns import CANDIDATE_COLUMNS, changes, rows
from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, one_line, write
from resroute.cli.showing import age, as_line, outcomes
from resroute.client import Explanation

MAX_CANDIDATES = 100
"""So many instances of a service a router names."""


async def print_explanation(
    url: str,
    resource_id: str | None,
    service_name: str | None,
    interruption: Interruption,
    *,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Print what a call would meet, and why, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        explanation = await router.explain(resource_id=resource_id, service_name=service_name)
        if as_json:
            write(as_line(explanation))
        else:
            write("\n".join(_lines(resource_id, service_name, explanation)))
        return DONE

    return await ask(url, token, interruption, question)


def _lines(resource_id: str | None, service_name: str | None, explanation: Explanation) -> Iterator[str]:
    if resource_id is not None:
        yield one_line(_resource_status(resource_id, explanation))
    else:
        yield one_line(f"service {service_name}: {_presence(explanation)}.")
    yield one_line(_verdict(explanation))
    if explanation.flapping:
        yield "It changes its owner again and again: too often in the last minute."
    if explanation.waiters:
        yield f"Waiting: {explanation.waiters}."
    yield f"Calls so far: {outcomes(explanation.recent_calls)}."
    if explanation.candidates:
        yield ""
        yield Table(tuple(CANDIDATE_COLUMNS)).lines(rows(CANDIDATE_COLUMNS, explanation.candidates))
    if explanation.transitions:
        yield ""
        yield changes(explanation.transitions)


def _resource_status(resource_id: str, explanation: Explanation) -> str:
    owner = explanation.owner
    if owner is not None:
        since = age(owner.registered_at)
        whose = f"{owner.owner_instance_id} of {owner.service_name}"
        status = f"{resource_id}: {whose} has owned it for {since}, epoch {owner.epoch}."
        if owner.suspended_until is not None:
            status += f" It was cut off, and may come back until {owner.suspended_until:%H:%M:%S} UTC."
        return status
    return f"{resource_id}: {explanation.status}."


def _presence(explanation: Explanation) -> str:
    suspended = sum(info.status == "suspended" for info in explanation.candidates)
    there = _count(len(explanation.candidates) - suspended)
    return f"{there}; {suspended} cut off, and may come back" if suspended else there


def _count(instances: int) -> str:
    match instances:
        case 0:
            return "no instance is here"
        case 1:
            return "1 instance is here"
        case count if count < MAX_CANDIDATES:
            return f"{count} instances are here"
        case count:
            return f"{count} instances are here, or more"


def _verdict(explanation: Explanation) -> str:
    would = explanation.would
    if would.error is None:
        return f"A call now goes to {would.deliver_to}."
    kind = would.error.data.get("type", "error")
    return f"A call now fails: {would.error.code} {kind}: {would.error.message}."
