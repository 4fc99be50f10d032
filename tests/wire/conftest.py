"""Every promise of the wire is kept over a log that answers at once, and over one that answers late, as a cluster's does."""

from collections.abc import Iterator

import pytest

from tests.scenario import log_is_late


@pytest.fixture(autouse=True, params=[False, True], ids=["at once", "late"])
def log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the commands of the router go."""
    token = log_is_late.set(request.param)
    yield
    log_is_late.reset(token)
