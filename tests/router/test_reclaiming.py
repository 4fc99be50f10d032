"""Tidying up after owners that are gone: nobody notices it, wherever the log lives."""

import pytest
from trio.testing import MockClock

from tests.scenario import open_scenario


@pytest.mark.parametrize("is_lagging", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_everything_of_an_owner_that_left_is_reclaimed_in_few_commands(
    autojump_clock: MockClock, is_lagging: bool, seed: int
) -> None:
    async with open_scenario(seed=seed, is_lagging=is_lagging) as scenario:
        owner = await scenario.owner("owner", *(f"r{number}" for number in range(1000)))
        before = scenario.router.log.state.revision
        owner.drop()
        await scenario.wait_until(lambda: scenario.statistics().unreclaimed == 0 < scenario.revision - before)
        assert scenario.statistics().resources == 0
        assert scenario.revision - before < 1000 / 16 + 2, "no slice is asked for before the last one is done"
