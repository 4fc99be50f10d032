"""The caller's side of a call with partial results."""

from typing import Any, Self

import trio

from resroute.client.pending import Pending
from resroute.client.requests import wait_own_deadline
from resroute.errors import CallTimeout


class CallStream:
    """The partial results of one call, in order, and then its result. See :meth:`resroute.Client.open_stream`.

    Iterating ends with the call. If that ends in an error, the error is raised, after all chunks that came before.
    """

    def __init__(self, pending: Pending, deadline: float) -> None:
        self._pending = pending
        self._deadline = deadline
        self._has_result = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        assert self._pending.chunks is not None
        try:
            return await self._pending.chunks.receive()
        except trio.EndOfChannel:
            pass
        error = self._pending.error
        if isinstance(error, CallTimeout):
            await wait_own_deadline(self._deadline)
        if error is not None:
            raise error
        self._has_result = True
        raise StopAsyncIteration

    @property
    def result(self) -> Any:
        """What the callee answered in the end. It is there once the iteration has ended.

        Raises:
            RuntimeError: it has not.
        """
        if not self._has_result:
            raise RuntimeError("the result of a call comes after the last of its chunks: iterate to the end")
        return self._pending.value
