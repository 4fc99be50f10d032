"""All pages of a query, one resource after the other."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

from resroute.client.results import ResourceInfo, ResourcePage


class Resources:
    """The resources that match, in order of their ids: an async iterator. See :meth:`resroute.Client.all_resources`.

    Attributes:
        page: the last page that was asked for; None before the first.
    """

    def __init__(self, ask: Callable[[str | None], Awaitable[ResourcePage]]) -> None:
        self.page: ResourcePage | None = None
        self._ask = ask
        self._waiting: deque[ResourceInfo] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResourceInfo:
        while not self._waiting:
            if self.page is not None and self.page.next_cursor is None:
                raise StopAsyncIteration
            self.page = await self._ask(None if self.page is None else self.page.next_cursor)
            self._waiting.extend(self.page.resources)
        return self._waiting.popleft()
