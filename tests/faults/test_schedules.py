"""Whatever vanishes, hangs or blunders, at whatever moment: the checker finds nothing wrong."""

import pytest

from tests.faults.remembered import REMEMBERED_SEEDS
from tests.faults.schedule import run_seed
from tests.records import Word, show

EVERYDAY_SEEDS = 50
"""As many as the everyday run has time for, beside those that are remembered."""

ALL_SEEDS = 200
"""As many as the full run has time for; ``python -m tests.faults`` runs any others."""


@pytest.mark.parametrize("seed", sorted({*range(EVERYDAY_SEEDS), *REMEMBERED_SEEDS}))
def test_the_checker_finds_nothing_wrong_with_schedule(seed: int) -> None:
    run_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*range(EVERYDAY_SEEDS, ALL_SEEDS)} - {*REMEMBERED_SEEDS}))
def test_nor_with_any_of_many_more(seed: int) -> None:
    run_seed(seed)


def test_a_seed_gives_the_same_schedule_every_time() -> None:
    told: list[list[str]] = []
    for _ in range(2):
        words: list[Word] = []
        run_seed(11, words)
        told.append([show(word) for word in words])
    assert len(told[0]) > 50
    assert told[0] == told[1]
