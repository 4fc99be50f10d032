"""Why a call would go where it would go, on the command line."""

from collections.abc import Iterator, Mapping

from resroute.cli.exits import DONE
from resroute.cli.interrupts import Interruption
from resroute.cli.output import Table, one_line, write
from resroute.cli.showing import age, as_line, milliseconds
from resroute.client import Candidate, Explanation, Transition, open_client

_CANDIDATES = ("CANDIDATE", "SERVICE", "STATUS", "TAKES CALLS", "PRIORITY", "IN FLIGHT", "LATENCY")
_TRANSITIONS = ("WHEN", "EVENT", "CAUSE", "INSTANCE", "REVISION")


async def print_explanation(
    url: str,
    resource_id: str | None,
    service_name: str | None,
    interruption: Interruption,
    *,
    as_json: bool,
) -> int:
    """Print what a call would meet, and why, and return the exit code.

    Raises:
        ResrouteError: the router cannot be asked.
        OutputLost: nobody reads it.
    """
    async with open_client(url) as client:
        with interruption.breakable():
            explanation = await client.explain(resource_id=resource_id, service_name=service_name)
            if as_json:
                write(as_line(explanation))
            else:
                name = resource_id if resource_id is not None else f"service {service_name}"
                write("\n".join(_lines(name, explanation)))
            return DONE
        return interruption.code


def _lines(name: str, explanation: Explanation) -> Iterator[str]:
    yield one_line(_status(name, explanation))
    yield one_line(_verdict(explanation))
    if explanation.waiters:
        yield f"Waiting: {explanation.waiters}."
    yield f"Calls so far: {_outcomes(explanation.recent_calls)}."
    if explanation.candidates:
        yield ""
        yield Table(_CANDIDATES).lines(map(_candidate, explanation.candidates))
    if explanation.transitions:
        yield ""
        yield Table(_TRANSITIONS).lines(map(_transition, reversed(explanation.transitions)))


def _status(name: str, explanation: Explanation) -> str:
    owner = explanation.owner
    if owner is not None:
        since = age(owner.registered_at)
        return f"{name}: {owner.owner_instance_id} of {owner.service_name} has owned it for {since}, epoch {owner.epoch}."
    if explanation.status == "owned":
        return f"{name}: {len(explanation.candidates)} of its instances are here."
    return f"{name}: {explanation.status}."


def _verdict(explanation: Explanation) -> str:
    would = explanation.would
    if would.error is None:
        return f"A call now goes to {would.deliver_to}."
    kind = would.error.data.get("type", "error")
    return f"A call now fails: {would.error.code} {kind}: {would.error.message}."


def _outcomes(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in calls.items()) or "none"


def _candidate(candidate: Candidate) -> list[str]:
    return [
        candidate.instance_id,
        candidate.service_name,
        candidate.status,
        "yes" if candidate.able else f"no: {candidate.reason}",
        str(candidate.priority),
        str(candidate.in_flight),
        milliseconds(candidate.latency_ms),
    ]


def _transition(transition: Transition) -> list[str]:
    return [
        f"{age(transition.at)} ago",
        transition.event,
        transition.cause,
        transition.instance_id or "-",
        str(transition.revision),
    ]
