"""An instance from the command line: it owns resources, says so, and answers calls."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import trio

from resroute.cli.exits import CONFLICT, DONE, MAY_HAVE_RUN, NO_CONNECTION, REFUSED
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, note, one_line, write
from resroute.cli.runner import Runner
from resroute.client import Acquired, BulkFailure, Call, Changes, Client, Instance, Lost, open_client
from resroute.client.changes import Change
from resroute.client.nurseries import open_transparent_nursery
from resroute.errors import ConnectionLost, ResourceConflict

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
    drain_seconds: float = 25.0


async def hold_resources(
    url: str, wishes: Wishes, interruption: Interruption, *, token: str | None = None
) -> int:
    """Own resources and answer calls until told to stop, or the connection ends. Returns the exit code.

    Told to stop, it hands everything over to others of its service, or releases it, and lets the calls at work finish.

    Raises:
        ResrouteError: the router refuses what is asked.
        OutputLost: what it has to say cannot be printed.
    """
    async with open_client(url, token=token, reconnect=None, retry=None) as client:
        answer = await _answering(client, wishes)
        async with client.open_instance(
            wishes.service_name, answer, instance_id=wishes.instance_id
        ) as instance:
            async with instance.open_changes() as changes:
                code = DONE
                with (
                    interruption.breakable()
                ):  # it may have to wait, with nothing held that is to be released
                    code = await _register(instance, wishes)
                interruption.wait_for_it()
                if code == DONE:
                    code = await _stay(changes, interruption.told)
            if code == DONE:
                code = await _stop(client, instance, wishes.drain_seconds)
        return code


async def _stop(client: Client, instance: Instance, drain_seconds: float) -> int:
    """Hand everything over, and let calls at work finish. Returns the exit code."""
    if count := client.statistics().calls_serving:
        note(f"Handing everything over. Calls still at work: {count}; a second signal cuts them off.")
    stopped = await instance.stop(drain_seconds=drain_seconds)
    if stopped.in_flight:
        complain(
            f"calls that took longer than {drain_seconds:g} seconds and are cut off: {stopped.in_flight}"
        )
        return MAY_HAVE_RUN
    return DONE


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
    misses: Mapping[str, str] = {}
    if wishes.wait_seconds:
        await instance.register(*wishes.resource_ids, wait_seconds=wishes.wait_seconds)
    else:
        taken = await instance.bulk_register(wishes.resource_ids, continue_on_error=wishes.partial)
        if taken.rolled_back:
            return _tell_refused(taken.failed[0])
        misses = {failure.resource_id: _why(failure) for failure in taken.failed}
    _tell(
        [
            f"serves {instance.service_name} as {instance.instance_id}",
            *(f"holds {resource_id}" for resource_id in instance.resources),
            *(f"misses {resource_id} ({why})" for resource_id, why in misses.items()),
        ]
    )
    if misses and not instance.resources:
        complain("there is nothing to hold: others own all of it")
        return CONFLICT
    return DONE


def _why(failure: BulkFailure) -> str:
    owner = failure.current_owner
    return failure.reason if owner is None else f"{owner} owns it"


def _tell_refused(failure: BulkFailure) -> int:
    """Say what kept this from holding anything, and return the exit code."""
    if failure.current_owner is not None:
        complain(f"Resource {failure.resource_id!r} is already owned by instance {failure.current_owner!r}")
        return CONFLICT
    complain(f"{failure.resource_id!r}: {failure.reason}")
    return CONFLICT if failure.error_code == ResourceConflict.type else REFUSED


async def _stay(changes: Changes, told: trio.Event) -> int:
    code = DONE
    async with open_transparent_nursery() as nursery:
        nursery.start_soon(_cancel_when, told, nursery.cancel_scope)
        try:
            async for change in changes:
                _tell(_lines(change))
        except ConnectionLost as lost:
            complain(f"{lost}; all that was held is free")
            code = NO_CONNECTION
        nursery.cancel_scope.cancel()
    return code


async def _cancel_when(told: trio.Event, scope: trio.CancelScope) -> None:
    await told.wait()
    scope.cancel()


def _lines(change: Change) -> Iterator[str]:
    match change:
        case Acquired():
            yield f"acquired {change.resource_id}"
        case Lost():
            yield f"lost {change.resource_id} ({change.new_owner or 'nobody'} owns it now)"


def _tell(lines: Iterable[str]) -> None:
    text = "\n".join(map(one_line, lines))
    if text:
        write(text)
