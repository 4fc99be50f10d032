"""What holds for every test with processes."""

from collections.abc import AsyncGenerator

import pytest
import trio


@pytest.fixture(autouse=True)
async def _deadline(request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """No test waits for ever, on a busy machine either."""
    with trio.fail_after(120 if request.node.get_closest_marker("slow") else 40):
        yield
