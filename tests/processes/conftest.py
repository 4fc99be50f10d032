"""What holds for every test with processes."""

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

SECONDS = 40
SLOW_SECONDS = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test here waits for ever. A fixture cannot see to that: pytest-trio ends those that a test does not name at once."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent:
            seconds = SLOW_SECONDS if item.get_closest_marker("slow") else SECONDS
            item.obj = _bounded(item.obj, seconds)


def _bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(**fixtures: object) -> None:
        with trio.fail_after(seconds):
            await test(**fixtures)

    return bounded
