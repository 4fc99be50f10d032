"""The figures of the overview as they change, for the page that shows them."""

from collections.abc import AsyncIterator, Callable
from typing import Self

import trio
from quart.wrappers.response import ResponseBody

from resroute.admin.sampling import Sampler
from resroute.admin.streams import KEEP_ALIVE_SECONDS, RETRY_MS, event_text


class FigureStream(ResponseBody):
    """Says anew what the figures look like whenever there is one more sample, which is more often than it is kept alive.

    Args:
        sampler: of whose samples.
        draw: what the page has in the place of the figures now.
        leave: called when it is closed; more than once does no harm.
    """

    def __init__(self, sampler: Sampler, draw: Callable[[], str], leave: Callable[[], None]) -> None:
        self._sampler = sampler
        self._draw = draw
        self._leave = leave
        self._told: int | None = None
        self._is_closed = False
        self._scope: trio.CancelScope | None = None  # there while it waits

    def close(self) -> None:
        """Nothing more is said."""
        self._leave()
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        head = b"" if self._told is not None else b"retry: %d\n\n" % RETRY_MS
        if not self._is_closed:
            with trio.move_on_after(KEEP_ALIVE_SECONDS) as self._scope:
                await self._sampler.wait_beyond(self._told)
        if self._is_closed:
            raise StopAsyncIteration
        if self._told == self._sampler.count:
            return b":\n\n"
        self._told = self._sampler.count
        return head + event_text("figures", self._draw().encode())
