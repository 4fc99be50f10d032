"""Finding resources by any part of their ids, against a plain model."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.filters import Filter
from resroute.core.metadata import MetadataChange
from resroute.ids import ResourceId
from resroute.router.id_search import FoundIds, IdSearch, Rank
from tests.core.asking import Asker, ids, many_ids, register
from tests.core.effort import effort
from tests.core.finding import FILTERS, Wanted
from tests.core.schedules import random_schedule
from tests.router.test_resource_pages import Played

FRAGMENTS = ("a", "A", "user", "er:1", ":", "1", "nowhere", "b")


def find(search: IdSearch, wanted: Filter, fragment: str, limit: int, after: Rank | None = None) -> FoundIds:
    async def run() -> FoundIds:
        return await search.find(wanted, fragment, limit=limit, after=after)

    return trio.run(run)


@given(st.integers(0, 2**32), st.sampled_from(FILTERS), st.sampled_from(FRAGMENTS), st.integers(1, 5))
@effort(150)
def test_pages_have_all_that_match_and_the_best_first(
    seed: int, given: Wanted, fragment: str, limit: int
) -> None:
    played = Played(random_schedule(seed, 300))
    played.play(300)
    expected = sorted(
        (it for it in played.matching(given) if fragment.lower() in it.lower()),
        key=lambda it: (not it.startswith(fragment), it),
    )
    found: list[ResourceId] = []
    after: Rank | None = None
    while True:
        page = find(IdSearch(played.state, lambda: 0.0), Filter.of(**given), fragment, limit, after)
        assert (page.total_count, page.is_complete) == (len(expected), True)
        found += page.resource_ids
        after = page.last
        if after is None:
            break
    assert found == expected


def test_the_resource_of_just_that_id_comes_first() -> None:
    asker = Asker()
    asker.join("i")
    names = ("a/room:1", "room:1", "room:10", "room:1/door", "xroom:1", "ROOM:1x")
    asker.applied(register("i", ids(*names)))
    found = find(IdSearch(asker.state, lambda: 0.0), Filter(), "room:1", 10)
    assert found.resource_ids == ["room:1", "room:1/door", "room:10", "ROOM:1x", "a/room:1", "xroom:1"]


def test_no_more_ids_are_looked_at_than_allowed_and_that_is_told() -> None:
    asker = Asker()
    asker.join("i")
    asker.applied(register("i", many_ids(10_000)))
    found = find(IdSearch(asker.state, lambda: 0.0, max_looked_at=3000), Filter(), "r", 5)
    assert not found.is_complete
    assert 3000 <= found.total_count < 10_000
    assert find(IdSearch(asker.state, lambda: 0.0), Filter(), "r", 5).total_count == 10_000


@pytest.mark.parametrize("tags", [(), tuple(f"tag-{number}" for number in range(2000))])
async def test_whoever_looks_for_long_leaves_the_loop_to_others(tags: tuple[str, ...]) -> None:
    asker = Asker()
    asker.join("i")
    wanted = many_ids(1000)
    said = MetadataChange("page", tags)
    asker.applied(register("i", wanted, metadata={it: said for it in wanted}, max_metadata_bytes=100_000))
    now = turns = 0

    def clock() -> float:  # every look at it is late
        nonlocal now
        now += 1
        return now

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        found = await IdSearch(asker.state, clock).find(Filter.of(tags=tags[:1]), "r", limit=10)
        nursery.cancel_scope.cancel()
    assert found.total_count == 1000
    # for every few resources, and for each with very many tags
    assert turns >= (900 if tags else 10)
