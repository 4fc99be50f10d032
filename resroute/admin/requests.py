"""Requests to the admin server: no larger than allowed, and with what has to be tidied up after them."""

from collections.abc import Callable
from typing import Any, cast

import trio
from quart import request
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from werkzeug.exceptions import RequestEntityTooLarge


class Body(TrioBody):
    """Keeps no more of a body than is allowed, however much comes."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._received_bytes = 0
        self._arrived = trio.Event()

    async def put(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._received_bytes > (self._max_content_length or 0) and self._must_raise is None:
            self._must_raise = RequestEntityTooLarge()
            super().set_complete()  # whoever waits for it need not any longer
        if self._must_raise is None:
            await super().put(data)

    def set_complete(self) -> None:
        super().set_complete()
        self._arrived.set()

    async def wait_arrived(self) -> None:
        """Wait until all of it is here, or would be."""
        await self._arrived.wait()


class AdminRequest(TrioRequest):
    """A request to the admin server."""

    body_class = Body
    body: Body

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._when_done: list[Callable[[], object]] = []

    def when_done(self, act: Callable[[], object]) -> None:
        """Have something done once the request is answered, or never will be."""
        self._when_done.append(act)

    def finish(self) -> None:
        """It is over."""
        for act in self._when_done:
            act()
        self._when_done.clear()


def current_request() -> AdminRequest:
    """The request that is being answered."""
    return cast("AdminRequest", request._get_current_object())
