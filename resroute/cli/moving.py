"""What administrators do with what others own, from the command line: hand it over, empty an instance, end a session."""

from collections.abc import Sequence
from typing import Literal

from resroute.cli.exits import CONFLICT, DONE, MISTAKE, NOT_DELIVERED, NOT_FOUND, REFUSED
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, note, one_line, to_json, write
from resroute.cli.showing import as_line
from resroute.client import Client, Drained, DrainProgress, Transferred, open_client
from resroute.client.draining import HandOverTo
from resroute.errors import InstanceNotFound

# what stands in the way of one resource: for people, and the exit code
_FAILURES = {
    "not_owner": ("another instance owns it", REFUSED),
    "resource_not_found": ("nobody owns it", NOT_FOUND),
    "instance_not_found": ("there is no such instance", NOT_FOUND),
    "service_mismatch": ("the instance is of another service", NOT_FOUND),
    "resource_conflict": ("somebody is about to change whose it is", CONFLICT),
    "unavailable": ("the instance is about to leave", NOT_DELIVERED),
    "resource_limit_exceeded": ("the instance owns as many as it may", REFUSED),
    "invalid_params": ("the instance owns it already", MISTAKE),
}


async def transfer_resources(
    url: str,
    resource_ids: Sequence[str],
    interruption: Interruption,
    *,
    to: str,
    source: str | None,
    reason: str,
    partial: bool,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Hand resources over, say which, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """
    async with open_client(url, token=token, reconnect=None, retry=None) as client:
        with interruption.breakable():
            done = await client.transfer_resources(
                *resource_ids, to=to, source=source, reason=reason, partial=partial
            )
            return _tell_transferred(done, to, as_json=as_json)
        return interruption.code


def _tell_transferred(done: Transferred, to: str, *, as_json: bool) -> int:
    if as_json:
        write(as_line(done))
    elif done.transferred:
        write("\n".join(one_line(f"transferred {name} to {to}") for name in done.transferred))
    code = DONE
    for resource_id, kind in done.failed.items():
        why, its_code = _FAILURES.get(kind, (kind, REFUSED))
        complain(f"{resource_id!r} stays where it is: {why}")
        code = code or its_code
    return code


async def drain_instance(
    url: str,
    instance_id: str,
    interruption: Interruption,
    *,
    hand_over_to: HandOverTo,
    deadline_seconds: float | None,
    batch_size: int,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Have an instance leave, say how far that is, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """

    def tell(progress: DrainProgress) -> None:
        if progress.done < progress.total:
            note(f"{progress.done} of {progress.total}")

    async with open_client(url, token=token, reconnect=None, retry=None) as client:
        with interruption.breakable():
            done = await client.drain_instance(
                instance_id,
                hand_over_to=hand_over_to,
                deadline_seconds=deadline_seconds,
                batch_size=batch_size,
                on_progress=tell,
            )
            write(as_line(done) if as_json else _line(instance_id, done))
            return DONE
        note(f"The rest stays with {instance_id!r}, which gets nothing new until it has left.")
        return interruption.code


def _line(instance_id: str, done: Drained) -> str:
    told = f"drained {instance_id}: {done.handed_over} handed over, {done.released} released"
    return one_line(f"{told}; calls still at work: {done.in_flight}" if done.in_flight else told)


async def rebalance_service(
    url: str,
    service_name: str,
    interruption: Interruption,
    *,
    by: Literal["count", "calls"],
    max_moves: int | None,
    dry_run: bool,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Spread evenly what a service owns, say what went where, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """
    async with open_client(url, token=token) as client:
        with interruption.breakable():
            done = await client.rebalance_service(service_name, by=by, max_moves=max_moves, dry_run=dry_run)
            if as_json:
                write(as_line(done))
            elif done.moves:
                verb = "would move" if dry_run else "moved"
                write(
                    "\n".join(
                        one_line(
                            f"{verb} {move.resource_id} from {move.from_instance_id} to {move.to_instance_id}"
                        )
                        for move in done.moves
                    )
                )
            else:
                note("There is nothing to even out.")
            if done.has_more:
                note("There is more to move: ask again.")
            return DONE
        return interruption.code


async def end_session(
    url: str,
    interruption: Interruption,
    *,
    session_id: str | None,
    instance_id: str | None,
    reason: str,
    as_json: bool,
    token: str | None = None,
) -> int:
    """End a session, or that of an instance; say which, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """
    async with open_client(url, token=token, reconnect=None, retry=None) as client:
        with interruption.breakable():
            if session_id is None:
                assert instance_id is not None
                session_id = await _session_of(client, instance_id)
            await client.end_session(session_id, reason=reason)
            ended = (
                {"ended": session_id}
                if instance_id is None
                else {"ended": session_id, "instance_id": instance_id}
            )
            write(to_json(ended, pretty=False) if as_json else one_line(f"ended {session_id}"))
            return DONE
        return interruption.code


async def _session_of(client: Client, instance_id: str) -> str:
    page = await client.query_instances(instance_id=instance_id)
    if not page.instances:
        raise InstanceNotFound(instance_id)
    return page.instances[0].session_id
