"""What administrators do with what others own, from the command line: hand it over, empty an instance, end a session."""

from collections.abc import Sequence
from typing import Literal

from resroute.cli.access import RouterAccess, ask
from resroute.cli.exits import CONFLICT, DONE, MISTAKE, NOT_DELIVERED, NOT_FOUND, REFUSED
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, note, one_line, to_json, write
from resroute.cli.showing import as_line
from resroute.client import Drained, DrainProgress, Transferred
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

    async def question(router: RouterAccess) -> int:
        done = await router.transfer_resources(
            *resource_ids, to=to, source=source, reason=reason, partial=partial
        )
        return _tell_transferred(done, to, as_json=as_json)

    return await ask(url, token, interruption, question)


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

    async def question(router: RouterAccess) -> int:
        done = await router.drain_instance(
            instance_id,
            hand_over_to=hand_over_to,
            deadline_seconds=deadline_seconds,
            batch_size=batch_size,
            on_progress=tell,
        )
        write(as_line(done) if as_json else _line(instance_id, done))
        return DONE

    code = await ask(url, token, interruption, question)
    if code != DONE:
        note(f"The rest stays with {instance_id!r}, which gets nothing new until it has left.")
    return code


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

    async def question(router: RouterAccess) -> int:
        done = await router.rebalance_service(service_name, by=by, max_moves=max_moves, dry_run=dry_run)
        verb = "would move" if dry_run else "moved"
        if as_json:
            write(as_line(done))
        elif done.moves:
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

    return await ask(url, token, interruption, question)


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

    async def question(router: RouterAccess) -> int:
        its_session = session_id
        if its_session is None:
            assert instance_id is not None
            its_session = await _session_of(router, instance_id)
        await router.end_session(its_session, reason=reason)
        ended = {"ended": its_session} | ({} if instance_id is None else {"instance_id": instance_id})
        write(to_json(ended, pretty=False) if as_json else one_line(f"ended {its_session}"))
        return DONE

    return await ask(url, token, interruption, question)


async def _session_of(router: RouterAccess, instance_id: str) -> str:
    page = await router.query_instances(instance_id=instance_id)
    if not page.instances:
        raise InstanceNotFound(instance_id)
    return page.instances[0].session_id
