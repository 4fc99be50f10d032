"""Making a call, and making it again where that is safe."""

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from resroute.client.link import Link
from resroute.client.messages import read_payload
from resroute.client.repeating import Repeating
from resroute.client.requests import take_time, wait_own_deadline
from resroute.client.retrying import can_be_repeated
from resroute.errors import CallTimeout, ConnectionLost, RouterError

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext


async def call(link: Link, request: dict[str, Any], *, idempotent: bool) -> Any:
    """See :meth:`resroute.Client.call`.

    Args:
        request: the params of ``route.call``. The time that is left is noted in it, anew for each attempt.
    """
    attempts: list[SpanContext] = []
    repeating: Repeating | None = None
    began_at = trio.current_time()
    while True:
        try:
            session = link.usable or await link.ready()
            await session.wait_room()
            deadline = await take_time(request, session.max_timeout_seconds)
            try:
                return await session.request("route.call", request, read_payload, attempts=attempts)
            except CallTimeout as error:
                timeout = error
            await wait_own_deadline(deadline)
            raise timeout
        except (RouterError, ConnectionLost) as error:
            if link.retry is None or link.lost is not None:
                raise
            if repeating is None:
                may_be = partial(can_be_repeated, idempotent=idempotent)
                repeating = Repeating(link.retry, may_be, began_at)
            pause = repeating.pause_after(error)
            if pause is None:
                raise
        await trio.sleep(pause)
