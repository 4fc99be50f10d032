"""Taking resources away from whoever owns them, from the command line."""

from collections.abc import Sequence

from resroute.cli.access import RouterAccess, ask
from resroute.cli.exits import DONE, NOT_FOUND
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, one_line, write
from resroute.cli.showing import as_line


async def release_resources(
    url: str,
    resource_ids: Sequence[str],
    interruption: Interruption,
    *,
    partial: bool,
    as_json: bool,
    token: str | None = None,
) -> int:
    """Release resources, say which, and return the exit code.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads it.
    """

    async def question(router: RouterAccess) -> int:
        done = await router.release_resources(*resource_ids, partial=partial)
        if as_json:
            write(as_line(done))
        elif done.released:
            write("\n".join(one_line(f"released {resource_id}") for resource_id in done.released))
        for resource_id in done.failed:
            complain(f"No instance owns resource {resource_id!r}")
        return NOT_FOUND if done.failed else DONE

    return await ask(url, token, interruption, question)
