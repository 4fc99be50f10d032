"""The SDK's border for exception groups: what happens in the user's block leaves it as it is, in no group."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_transparent_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery for tasks that the user does not know of.

    An exception that comes alone, or together with nothing but cancellations, leaves the block without the group that
    Trio wraps it in. Groups that the body raises itself stay as they are. When several things fail at once, the group
    of them is raised.
    """
    alone: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        real = [error for error in group.exceptions if not _is_cancellation(error)]
        if len(real) != 1:
            raise
        alone = real[0]
    if alone is not None:
        raise alone


@asynccontextmanager
async def open_joint_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery for parts of one thing that was asked for, which may all fail for the same reason.

    As :func:`open_transparent_nursery`; but where several fail in the same moment, the first error stands for them all,
    with a note of the others.
    """
    first: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        first, *others = [error for error in group.exceptions if not _is_cancellation(error)] or [group]
        if not all(isinstance(error, Exception) for error in others):
            raise
        if others:
            first.add_note(f"in the same moment: {', '.join(map(repr, others))}")
    if first is not None:
        raise first


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cancellation, error.exceptions))
    return isinstance(error, trio.Cancelled)
