"""One call, from the command line."""

import math
from typing import Any

import trio

from resroute.cli.access import RouterAccess, open_access
from resroute.cli.exits import DONE, MISTAKE, code_for_delivery
from resroute.cli.interrupts import Interruption
from resroute.cli.output import complain, to_json, write
from resroute.errors import CallTimeout, ConnectionFailed, ConnectionLost


async def make_call(
    url: str,
    method: str,
    params: dict[str, Any] | list[Any] | None,
    *,
    resource_id: str | None,
    service_name: str | None,
    timeout_seconds: float | None,
    in_one_line: bool,
    interruption: Interruption,
    token: str | None = None,
) -> int:
    """Make a call, print its result, and return the exit code.

    Raises:
        ResrouteError: something else came of it.
        OutputLost: the result cannot be printed.
    """
    with trio.CancelScope() as connecting:
        if timeout_seconds is not None:
            connecting.deadline = trio.current_time() + timeout_seconds
        async with open_access(url, token=token) as router:
            deadline, connecting.deadline = connecting.deadline, math.inf
            with interruption.breakable(deadline=deadline):
                return await _ask(router, method, params, resource_id, service_name, in_one_line=in_one_line)
            if interruption.told.is_set():
                return interruption.code
            assert timeout_seconds is not None
            raise CallTimeout(timeout_seconds, delivery="unknown")
    raise ConnectionFailed(url, f"no answer within {timeout_seconds:g} seconds")


async def _ask(
    router: RouterAccess,
    method: str,
    params: dict[str, Any] | list[Any] | None,
    resource_id: str | None,
    service_name: str | None,
    *,
    in_one_line: bool,
) -> int:
    try:
        result = await router.call(method, params, resource_id=resource_id, service_name=service_name)
    except ConnectionLost as lost:
        is_safe = lost.delivery == "not_delivered"
        complain(f"{lost}; {'the call was never sent' if is_safe else 'the call may have run'}")
        return code_for_delivery(lost.delivery)
    except TypeError as error:
        complain(f"these params cannot be sent: {error}")
        return MISTAKE
    write(to_json(result, pretty=not in_one_line))
    return DONE
