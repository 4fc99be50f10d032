"""Asking something that may fail in any typed way, and in no other."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

import resroute

Asking = Callable[[], Awaitable[object]]

TYPED = (resroute.ResrouteError, trio.BusyResourceError, trio.ClosedResourceError)
"""What may come of it."""


async def go_through(block: AbstractAsyncContextManager[Any]) -> None:
    """Take all that there is, until there is nothing more."""
    async with block as items:
        async for _ in items:
            pass


async def ask(asking: Asking, seconds: float, *others: type[Exception]) -> None:
    """What is asked comes to a typed end, or to one of the others, or is cancelled after that time."""
    with trio.move_on_after(seconds):
        try:
            await asking()
        except BaseException as error:  # noqa: ASYNC103  # it ends here only if it is no cancellation
            if isinstance(error, ExceptionGroup) and not all(
                isinstance(each, others) for each in _leaves(error)
            ):
                raise  # none but hooks fail in groups
            if any(not isinstance(each, (*TYPED, *others, trio.Cancelled)) for each in _leaves(error)):
                raise
            if not isinstance(error, Exception):
                raise  # the cancellation
            str(error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
