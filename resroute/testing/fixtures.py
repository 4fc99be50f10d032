"""A fixture for pytest, with pytest-trio: ``pytest_plugins = ["resroute.testing.fixtures"]`` in a ``conftest.py``."""

from collections.abc import AsyncGenerator

import pytest

from resroute.testing.router import MemoryRouter, open_test_router


@pytest.fixture
async def resroute_router() -> AsyncGenerator[MemoryRouter]:
    """A router in memory: see :func:`resroute.testing.open_test_router`."""
    async with open_test_router() as router:
        yield router
