"""What holds for every test of the command line."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog
import trio

SECONDS = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test here waits for ever. pytest-trio ends at once what a fixture begins that a test does not name."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent:
            if inspect.iscoroutinefunction(item.obj):
                item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(**fixtures: object) -> None:
        with trio.fail_after(SECONDS):
            await test(**fixtures)

    return bounded


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What routers of this process log is not what commands print."""

    def drop(*_: object) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    yield
    structlog.reset_defaults()
