"""An instance from the command line: it owns resources, says so, and answers calls."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from resroute.cli.exits import CONFLICT, DONE, NO_CONNECTION
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, note, one_line, write
from resroute.cli.runner import Runner
from resroute.client import Call, Client, Instance, open_client
from resroute.errors import RouterError

LOOK_SECONDS = 0.2
"""How often it looks whether something was taken from it, or handed to it."""

_MAX_LOOKED_UP = 1000
_DEFAULT_MAX_BYTES = 1024 * 1024


@attrs.frozen
class Wishes:
    """What to own, and how to answer."""

    service_name: str
    resource_ids: tuple[str, ...] = ()
    instance_id: str | None = None
    partial: bool = False
    wait_seconds: float = 0.0
    command: str | None = None
    jobs: int = 1


async def hold_resources(url: str, wishes: Wishes, interruption: Interruption) -> int:
    """Own resources and answer calls until told to stop, or the connection ends. Returns the exit code.

    Told to stop, it releases everything and lets the calls at work finish, each in its time.

    Raises:
        ResrouteError: the router refuses what is asked.
        OutputLost: what it has to say cannot be printed.
    """
    async with open_client(url) as client:
        answer = await _answering(client, wishes)
        async with client.open_instance(
            wishes.service_name, answer, instance_id=wishes.instance_id
        ) as instance:
            code = DONE
            with interruption.breakable():  # it may have to wait, with nothing held that is to be released
                code = await _register(instance, wishes)
            interruption.wait_for_it()
            if code == DONE:
                code = await _stay(client, instance, interruption.told)
        return code


async def _answering(client: Client, wishes: Wishes) -> Callable[[Call], object]:
    if wishes.command is None:
        return echo
    max_bytes = (await client.info()).limits.get("max_message_bytes", _DEFAULT_MAX_BYTES)
    return Runner(wishes.command, wishes.jobs, max_result_bytes=int(max_bytes)).answer


def echo(call: Call) -> dict[str, Any]:
    """Answer a call with itself."""
    said = {
        "method": call.method,
        "params": call.params,
        "resource_id": call.resource_id,
        "service_name": call.service_name,
        "epoch": call.epoch,
    }
    return {name: value for name, value in said.items() if value is not None}


async def _register(instance: Instance, wishes: Wishes) -> int:
    conflicts: Mapping[str, str] = {}
    if wishes.resource_ids:
        registered = await instance.register(
            *wishes.resource_ids, partial=wishes.partial, wait_seconds=wishes.wait_seconds
        )
        conflicts = registered.conflicts
    _tell(
        [
            f"serves {instance.service_name} as {instance.instance_id}",
            *(f"holds {resource_id}" for resource_id in instance.resources),
            *(f"misses {resource_id} ({owner} owns it)" for resource_id, owner in conflicts.items()),
        ]
    )
    if conflicts and not instance.resources:
        complain("there is nothing to hold: others own all of it")
        return CONFLICT
    return DONE


async def _stay(client: Client, instance: Instance, told: trio.Event) -> int:
    held = dict(instance.resources)
    while not told.is_set():
        with trio.move_on_after(LOOK_SECONDS):
            lost = await client.wait_closed()
            complain(f"{lost}; all that was held is free")
            return NO_CONNECTION
        now = dict(instance.resources)
        if gone := sorted(held.keys() - now.keys()):
            _tell(await _losses(client, gone))
        _tell(f"acquired {resource_id}" for resource_id in sorted(now.keys() - held.keys()))
        held = now
    if count := client.statistics().calls_serving:
        note(f"Releasing everything. Calls still at work: {count}; a second signal cuts them off.")
    return DONE


async def _losses(client: Client, gone: list[str]) -> list[str]:
    """What to say about resources that were taken away: whose they are now, as far as one question goes."""
    try:
        page = await client.query_resources(resource_ids=gone[:_MAX_LOOKED_UP], limit=_MAX_LOOKED_UP)
    except RouterError:  # it may not ask
        return [f"lost {resource_id}" for resource_id in gone]
    owners = {info.resource_id: info.owner_instance_id for info in page.resources}
    return [
        f"lost {resource_id} ({owners.get(resource_id, 'nobody')} owns it now)"
        for resource_id in gone[:_MAX_LOOKED_UP]
    ] + [f"lost {resource_id}" for resource_id in gone[_MAX_LOOKED_UP:]]


def _tell(lines: Iterable[str]) -> None:
    text = "\n".join(map(one_line, lines))
    if text:
        write(text)
