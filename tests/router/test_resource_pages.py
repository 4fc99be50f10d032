"""Pages of resources against a plain model, while nothing changes and while everything does between two steps."""

import random
from collections.abc import Generator, Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.filters import Filter
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.ids import ResourceId, Revision, ServiceName
from resroute.protocol.results import ResourceInfo, ResourcePage
from resroute.router.cursors import Cursors
from resroute.router.resource_pages import MAX_COUNTED, ResourcePages
from resroute.settings import Settings
from tests.core.asking import Asker, end, many_ids, reclaim, register, release
from tests.core.effort import effort
from tests.core.finding import FILTERS, Wanted, is_wanted
from tests.core.model import Model
from tests.core.schedules import Entry, random_schedule

KEY = b"sixteen bytes..."

filters = st.sampled_from(FILTERS)
limits = st.sampled_from((1, 2, 7, 30, 1000))
seeds = st.integers(0, 2**32)


def pages_of(state: State, settings: Settings | None = None) -> ResourcePages:
    return ResourcePages(settings or Settings(), state, {}, key=KEY, wall_time_of=lambda at: at)


def finish(steps: Generator[None, None, ResourcePage], between: Iterator[None] | None = None) -> ResourcePage:
    """Take all steps, with something happening between any two."""
    pages: list[ResourcePage] = []

    def keep_last() -> Iterator[None]:
        pages.append((yield from steps))

    for _ in keep_last():
        if between is not None:
            next(between)
    return pages[0]


def ids_of(page: ResourcePage) -> list[ResourceId]:
    return [info.resource_id for info in page.resources]


def all_pages(
    state: State, given: Wanted, limit: int, between: Iterator[None] | None = None
) -> Iterator[ResourcePage]:
    """From the first page to the last, by their cursors."""
    wanted = Filter.of(**given)
    after = ""
    while True:
        page = finish(pages_of(state).page(wanted, after=after, limit=limit), between)
        yield page
        assert page.has_more == isinstance(page.next_cursor, str)
        if not isinstance(page.next_cursor, str):
            return
        after = Cursors(KEY).open(page.next_cursor, wanted)


class Played:
    """A state and a model that the same commands are applied to."""

    def __init__(self, schedule: Sequence[Entry]) -> None:
        self.state = State()
        self.model = Model()
        self._rest = iter(schedule)

    def play(self, count: int) -> None:
        for _, entry in zip(range(count), self._rest, strict=False):
            self.state.apply(*entry)
            self.model.apply(entry[2])

    def matching(self, given: Wanted) -> dict[ResourceId, tuple[str, int]]:
        """What matches now, in order, with owner and epoch."""
        return {
            resource_id: (held.owner.instance_id, held.epoch)
            for resource_id, held in sorted(self.model.held.items())
            if is_wanted(given, resource_id, held)
        }


def told(info: ResourceInfo) -> tuple[ResourceId, tuple[str, int]]:
    return info.resource_id, (info.owner_instance_id, info.epoch)


@given(seed=seeds, given=filters, limit=limits, offset=st.integers(0, 40))
@example(seed=1, given=FILTERS[0], limit=7, offset=3)
@effort(150)
def test_pages_and_their_counts_agree_with_plain_dictionaries(
    seed: int, given: Wanted, limit: int, offset: int
) -> None:
    played = Played(random_schedule(seed, 300))
    played.play(300)
    expected = played.matching(given)
    found: list[tuple[ResourceId, tuple[str, int]]] = []
    for page in all_pages(played.state, given, limit):
        assert len(page.resources) == min(limit, len(expected) - len(found))
        assert page.total_count == len(expected)
        assert page.total_count_is_lower_bound is not True
        assert page.revision == played.state.revision
        found += map(told, page.resources)
    assert found == list(expected.items())

    page = finish(pages_of(played.state).page(Filter.of(**given), limit=limit, offset=offset))
    assert ids_of(page) == list(expected)[offset : offset + limit]
    assert page.has_more == (offset + limit < len(expected))
    assert page.total_count == len(expected)


@given(seed=seeds, given=filters, limit=limits)
@example(seed=3, given=FILTERS[0], limit=2)
@effort(150)
def test_whatever_changes_between_steps_nothing_that_stays_is_missed_or_told_twice(
    seed: int, given: Wanted, limit: int
) -> None:
    played = Played(random_schedule(seed, 2000))
    played.play(300)
    chance = random.Random(seed)
    at_revision: dict[Revision, dict[ResourceId, tuple[str, int]]] = {}
    staying = set(played.matching(given))

    def note() -> None:
        nonlocal staying
        now = at_revision[played.state.revision] = played.matching(given)
        staying &= now.keys()

    def change() -> Iterator[None]:
        while True:
            for _ in range(chance.randrange(4)):
                played.play(1)
                note()
            yield

    note()
    seen: list[ResourceId] = []
    for page in all_pages(played.state, given, limit, change()):
        right = at_revision[page.revision]
        assert [told(info) for info in page.resources] == [
            (info.resource_id, right[info.resource_id]) for info in page.resources
        ]
        seen += ids_of(page)
    assert seen == sorted(set(seen))
    assert staying <= set(seen)


# --- many ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [MAX_COUNTED, MAX_COUNTED + 1])
def test_up_to_ten_thousand_are_counted_exactly(count: int) -> None:
    asker = Asker()
    asker.join("i")
    asker.join("other", "mail")
    ids = many_ids(count)
    said = MetadataChange("page", ("a", "b"))
    asker.applied(register("i", ids, metadata={r: said for r in ids}))
    asker.applied(
        register("other", (ResourceId("r:zzz"),), metadata={"r:zzz": MetadataChange("page", ("a",))})
    )
    pages = pages_of(asker.state)
    for wanted in (
        Filter.of(prefix="r:0"),
        Filter.of(tags=["b"]),
        Filter.of(tags=["a", "b"]),
        Filter.of(tags=["b"], resource_type="page", prefix="r:0"),
        Filter.of(service_name=ServiceName("store"), prefix="r"),
        Filter.of(service_name=ServiceName("store")),
    ):
        page = finish(pages.page(wanted, limit=10))
        is_bound = count > MAX_COUNTED
        assert (page.total_count_is_lower_bound is True) == is_bound, wanted
        assert MAX_COUNTED <= page.total_count <= count, wanted
        assert ids_of(page) == list(ids[:10])
        late = finish(pages.page(wanted, limit=10, offset=MAX_COUNTED - 5))
        assert ids_of(late) == list(ids[MAX_COUNTED - 5 : MAX_COUNTED + 5])
        last = finish(pages.page(wanted, limit=10, after=ids[-3]))
        assert (ids_of(last), last.has_more) == (list(ids[-2:]), False)
        assert last.total_count == page.total_count


def test_what_the_dead_have_left_is_neither_told_nor_counted() -> None:
    asker = Asker()
    for name in ("gone", "here"):
        asker.join(name)
    ids = many_ids(3000)
    said = dict.fromkeys(ids, MetadataChange("page", ("a",)))
    asker.applied(register("gone", ids[:1500], metadata={r: said[r] for r in ids[:1500]}))
    asker.applied(register("here", ids[1500:], metadata={r: said[r] for r in ids[1500:]}))
    asker.applied(end("gone"))
    asker.applied(reclaim("gone", 100))
    asker.applied(register("here", ids[1400:1500]))
    pages = pages_of(asker.state)
    for wanted, count in (
        (Filter.of(tags=["a"]), 1500),
        (Filter.of(resource_type="page"), 1500),
        (Filter.of(prefix="r:"), 1600),
        (Filter.of(), 1600),
        (Filter.of(service_name=ServiceName("store")), 1600),
        (Filter.of(resource_ids=ids[1399:1401]), 1),
    ):
        page = finish(pages.page(wanted, limit=5))
        first = 1500 if count == 1500 else 1400
        assert ids_of(page) == list(ids[first : first + min(5, count)]), wanted
        assert page.total_count == count, wanted


def test_a_page_of_what_has_gone_meanwhile_is_empty_and_goes_on() -> None:
    asker = Asker()
    asker.join("i")
    ids = many_ids(30)
    asker.applied(register("i", ids))
    steps = pages_of(asker.state).page(Filter.of(prefix="r:"), limit=10)
    next(steps)  # it has looked
    asker.applied(release("i", ids[:10]))
    page = finish(steps)
    assert (ids_of(page), page.has_more, page.revision) == ([], True, asker.state.revision)
    assert isinstance(page.next_cursor, str)
    after = Cursors(KEY).open(page.next_cursor, Filter.of(prefix="r:"))
    rest = finish(pages_of(asker.state).page(Filter.of(prefix="r:"), limit=30, after=after))
    assert ids_of(rest) == list(ids[10:])


def test_a_query_looks_only_where_there_are_fewest() -> None:
    asker = Asker()
    asker.join("i")
    ids = many_ids(20_000)
    said: dict[str, MetadataChange] = {
        r: MetadataChange("page", ("all", f"one-in-{n % 100}")) for n, r in enumerate(ids)
    }
    asker.applied(register("i", ids, metadata=said))
    rare = Filter.of(resource_type="page", tags=["all", "one-in-7"], prefix="r:")
    steps = sum(1 for _ in pages_of(asker.state).page(rare, limit=1000))
    assert steps < 200
    nothing = Filter.of(tags=["one-in-7", "one-in-8"])
    assert sum(1 for _ in pages_of(asker.state).page(nothing, limit=1000)) < 30


def test_thousands_of_tags_make_neither_a_registration_nor_a_step_of_a_query_long() -> None:
    asker = Asker()
    asker.join("i")
    ids = many_ids(60)
    tags = tuple(f"t{n}" for n in range(2500))
    said: dict[str, MetadataChange] = {r: MetadataChange("page", (*tags, r)) for r in ids}
    asker.applied(register("i", ids, metadata=said, max_metadata_bytes=1_000_000))
    assert len(asker.state._indexes._by_tag) == 0
    pages = pages_of(asker.state)
    page = finish(pages.page(Filter.of(tags=tags), limit=10))
    assert (ids_of(page), page.total_count) == (list(ids[:10]), 60)
    assert ids_of(finish(pages.page(Filter.of(tags=[*tags, ids[7]]), limit=10))) == [ids[7]]
    assert ids_of(finish(pages.page(Filter.of(tags=[*tags, "nope"]), limit=10))) == []
    steps = sum(1 for _ in pages.page(Filter.of(tags=tags), limit=1))
    assert steps > 60, "looking at each of them is a step of its own"
