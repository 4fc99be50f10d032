"""What holds for every test with processes."""

import functools
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, groupby
from pathlib import Path

import pytest
import trio

SECONDS = 40
SLOW_SECONDS = 120


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No test here waits for ever. A fixture cannot see to that: pytest-trio ends those that a test does not name at once.

    Where several processes run tests, these are spread among the others: they mostly wait, and others have much to do.
    """
    for item in items:
        if isinstance(item, pytest.Function) and _is_here(item.path):
            seconds = SLOW_SECONDS if item.get_closest_marker("slow") else SECONDS
            item.obj = _bounded(item.obj, seconds)
    if hasattr(config, "workerinput"):
        items[:] = _spread(items)


def _is_here(path: Path) -> bool:
    return path.parent == Path(__file__).parent


def _spread(items: Iterable[pytest.Item]) -> Iterable[pytest.Item]:
    """File by file, with those here evenly among the others."""
    files = {path: list(of_file) for path, of_file in groupby(items, lambda item: item.path)}
    groups = [path for path in files if _is_here(path)], [path for path in files if not _is_here(path)]
    places = {path: (number + 0.5) / len(group) for group in groups for number, path in enumerate(group)}
    return chain.from_iterable(files[path] for path in sorted(files, key=places.__getitem__))


def _bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(**fixtures: object) -> None:
        with trio.fail_after(seconds):
            await test(**fixtures)

    return bounded
