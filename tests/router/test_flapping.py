"""Resources that change their owner again and again are found, whatever else happens, in bounded memory."""

import random
from itertools import count

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from resroute.ids import InstanceId, ResourceId, SessionId
from resroute.router.flapping import MAX_LEFT, MAX_LINES, MAX_WATCHED, SPAN_SECONDS, Flapping
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from tests.scenario import open_scenario

A, B = SessionId("a"), SessionId("b")
DOC = ResourceId("doc:1")


class Counting:
    """What counts, on a clock that a test turns."""

    def __init__(self, threshold: int = 10) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.flapping = Flapping(threshold, self.metrics, lambda: self.now)

    def pass_on(self, resource_id: ResourceId, owner: SessionId) -> None:
        """Somebody loses a resource, and somebody has it."""
        self.flapping.taken(resource_id, owner, InstanceId(owner))
        self.flapping.left(resource_id, owner)

    def change(self, resource_id: ResourceId, times: int) -> None:
        for _ in range(times):
            self.flapping.changed(resource_id, InstanceId("i"))


def test_one_change_more_than_the_threshold_is_reported_once_a_minute() -> None:
    counting = Counting(threshold=3)
    with capture_logs() as lines:
        counting.change(DOC, 3)
        assert not counting.flapping.is_flapping(DOC)
        counting.change(DOC, 1)
        assert counting.flapping.is_flapping(DOC)
        counting.change(DOC, 100)
        assert (len(lines), counting.metrics.flapping_reports) == (1, 1)
        assert (lines[0]["log_level"], lines[0]["resource_id"], lines[0]["changes"]) == ("warning", DOC, 4)
        counting.now += SPAN_SECONDS
        counting.change(DOC, 3)
        assert counting.metrics.flapping_reports == 2


def test_changes_that_are_longer_ago_than_a_minute_do_not_count() -> None:
    counting = Counting(threshold=3)
    for _ in range(100):
        counting.change(DOC, 1)
        counting.now += SPAN_SECONDS / 3 + 0.1
    assert counting.metrics.flapping_reports == 0
    counting.change(DOC, 4)
    assert counting.flapping.is_flapping(DOC)
    counting.now += SPAN_SECONDS + 0.1
    assert not counting.flapping.is_flapping(DOC)


def test_an_owner_that_releases_and_takes_again_changes_nothing() -> None:
    counting = Counting(threshold=1)
    for _ in range(100):
        counting.pass_on(DOC, A)
    assert counting.metrics.flapping_reports == 0
    for owner in (B, A, B):
        counting.pass_on(DOC, owner)
    assert counting.metrics.flapping_reports == 1


def test_memory_is_bounded_and_what_flaps_is_found_among_many_that_do_not() -> None:
    counting = Counting()
    others = count()
    rng = random.Random(1)
    for round_number in range(12):
        counting.pass_on(DOC, (A, B)[round_number % 2])
        for _ in range(3000 if round_number < 2 else 10_000):
            other = ResourceId(f"other:{next(others)}")
            counting.pass_on(other, A)
            if rng.random() < 0.5:
                counting.flapping.taken(other, B, InstanceId("b"))
        assert len(counting.flapping) <= MAX_LEFT + 2 * MAX_WATCHED
        counting.now += 1
    assert counting.flapping.is_flapping(DOC)


def test_when_everything_flaps_the_log_is_not_flooded() -> None:
    counting = Counting(threshold=3)
    with capture_logs() as lines:
        for number in range(500):
            counting.change(ResourceId(f"r:{number}"), 5)
    assert len(lines) == MAX_LINES
    assert counting.metrics.flapping_reports == 500


@pytest.mark.parametrize("is_lagging", [False, True])
async def test_a_resource_that_two_take_from_each_other_is_explained_as_flapping(
    autojump_clock: MockClock, is_lagging: bool
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"), flap_threshold=5)
    async with open_scenario(settings, is_lagging=is_lagging) as scenario:
        pair = [await scenario.instance("one"), await scenario.instance("two")]
        for number in range(6):
            await pair[number % 2].ask("resource.register", resource_ids=["doc:1"], force=True)
        assert "flapping" not in await pair[0].ask("route.explain", resource_id="doc:1")
        await pair[0].ask("resource.register", resource_ids=["doc:1"], force=True)
        assert (await pair[0].ask("route.explain", resource_id="doc:1"))["flapping"] is True
        assert "flapping" not in await pair[0].ask("route.explain", resource_id="doc:2")
        assert scenario.router.metrics.flapping_reports == 1


async def test_owners_that_crash_one_after_the_other_are_found_too(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(flap_threshold=5)) as scenario:
        for number in range(7):
            owner = await scenario.owner(f"owner-{number}", "doc:1")
            owner.drop()
            await scenario.wait_until(lambda: not scenario.statistics().sessions)
        assert scenario.router.metrics.flapping_reports == 1
