"""Watches held against the log itself: whatever happened, whatever they ask for, and wherever they began."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Log
from resroute.core.facts import (
    Applied,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.metadata import Metadata
from resroute.router.history import OwnershipFact
from resroute.router.router import Router
from resroute.settings import Settings
from resroute.transport.interface import JSON, MSGPACK, NDJSON, Subprotocol
from tests.party import Json, Party
from tests.scenario import Scenario, open_scenario
from tests.watching import Told, start_watch

NAMES = ("doc:1", "doc:2", "img:1", "img:2")
INSTANCES = ("one", "two", "three")
SERVICES = {"one": "red", "two": "red", "three": "blue"}
TYPES = (None, "note", "list")
TAGS = ("a", "b")


class Chronicle:
    """Follows the log, and keeps every change with its revision."""

    def __init__(self, router: Router) -> None:
        self.changes: list[tuple[int, OwnershipFact]] = []
        self._router = router

    def before_answer(self, applied: Applied) -> None:
        for fact in applied.facts:
            if isinstance(
                fact, ResourceRegistered | ResourceTransferred | ResourceReleased | ResourceUpdated
            ):
                self.changes.append((applied.revision, fact))
        self._router.before_answer(applied)

    def after_answer(self, applied: Applied) -> None:
        self._router.after_answer(applied)

    def told(self, wanted: Json, after: int) -> list[tuple[int, Any]]:
        """What a watch with these filters must be told after a revision."""
        told = []
        for revision, fact in self.changes:
            if revision > after and any(_matches(wanted, fact.resource_id, *end) for end in _ends(fact)):
                told.append((revision, _told(fact)))
        return told


def _ends(fact: OwnershipFact) -> list[tuple[Owner, Metadata | None]]:
    """Whose the resource was, and what it said of itself: before the change and after it."""
    match fact:
        case ResourceRegistered():
            return [(fact.owner, fact.details.metadata)]
        case ResourceReleased():
            return [(fact.previous_owner, fact.details.metadata)]
        case ResourceUpdated():
            return [(fact.owner, fact.metadata_before), (fact.owner, fact.details.metadata)]
        case ResourceTransferred():
            return [(fact.previous_owner, fact.metadata_before), (fact.owner, fact.details.metadata)]


def _matches(wanted: Json, resource_id: str, owner: Owner, metadata: Metadata | None) -> bool:
    tests: dict[str, Callable[[Any], bool]] = {
        "service_name": lambda name: name == owner.service_name,
        "instance_id": lambda name: name == owner.instance_id,
        "resource_ids": lambda names: resource_id in names,
        "prefix": lambda prefix: resource_id.startswith(prefix),
        "resource_type": lambda kind: metadata is not None and metadata.resource_type == kind,
        "tags": lambda tags: metadata is not None and set(tags) <= set(metadata.tags),
    }
    return all(tests[name](value) for name, value in wanted.items())


def _told(fact: OwnershipFact) -> tuple[Any, ...]:
    names = {
        ResourceRegistered: "registered",
        ResourceTransferred: "transferred",
        ResourceUpdated: "updated",
        ResourceReleased: "released",
    }
    metadata = fact.details.metadata
    owner = fact.previous_owner if isinstance(fact, ResourceReleased) else fact.owner
    previous = fact.previous_owner.instance_id if hasattr(fact, "previous_owner") else None
    cause = "request" if isinstance(fact, ResourceRegistered) else fact.cause
    version = None if metadata is None else metadata.version
    return names[type(fact)], cause, fact.resource_id, owner.instance_id, fact.epoch, version, previous


def _heard(event: Json) -> tuple[Any, ...]:
    info = event["resource"]
    return (
        event["event"],
        event["cause"],
        info["resource_id"],
        info["owner_instance_id"],
        info["epoch"],
        info["metadata"]["version"] if "metadata" in info else None,
        event.get("previous_owner"),
    )


# --- what happens ---------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """Somebody does something."""

    act: str
    who: str
    names: Sequence[str]
    metadata: Json
    wanted: Json
    begin: float
    """Where a watch begins: at a share of what has happened. Above 1: now; above 2: now, with a snapshot."""
    subprotocol: Subprotocol
    is_slow: bool


metadata = st.fixed_dictionaries(
    {
        "resource_type": st.sampled_from(TYPES),
        "tags": st.lists(st.sampled_from(TAGS), unique=True),
        "attributes": st.sampled_from(({}, {"filling": "x" * 700})),
    }
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "service_name": st.sampled_from(("red", "blue", "none")),
        "instance_id": st.sampled_from((*INSTANCES, "nobody")),
        "resource_ids": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        "prefix": st.sampled_from(("doc:", "img:1", "x")),
        "resource_type": st.sampled_from(("note", "list")),
        "tags": st.lists(st.sampled_from(TAGS), min_size=1, unique=True),
    },
)
steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(("register", "force", "update", "release", "drop", "watch", "watch", "unwatch")),
        st.sampled_from(INSTANCES),
        st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        metadata,
        filters,
        st.floats(0, 3),
        st.sampled_from((JSON, NDJSON, MSGPACK)),
        st.booleans(),
    ),
    min_size=5,
    max_size=60,
)


class World:
    """Carries out steps, and remembers every watch."""

    def __init__(self, scenario: Scenario, chronicle: Chronicle) -> None:
        self._scenario = scenario
        self._chronicle = chronicle
        self._instances: dict[str, Party] = {}
        self._base = scenario.revision
        # who watches what, since when, and which resources there were then
        self.watches: list[tuple[Party, Told, Json, list[Json] | None]] = []

    async def take(self, step: Step) -> None:
        if step.act == "watch":
            await self._watch(step)
            return
        if step.act == "unwatch":
            if self.watches:
                party, told, *_ = self.watches.pop(0)
                await party.ask("resource.unwatch", watch_id=told.watch_id)
            return
        if step.who not in self._instances:
            self._instances[step.who] = await self._scenario.instance(step.who, service=SERVICES[step.who])
        party = self._instances[step.who]
        match step.act:
            case "register":
                said = {step.names[0]: step.metadata}
                await party.start(
                    "resource.register", {"resource_ids": list(step.names), "metadata": said, "partial": True}
                )
            case "force":
                await party.start("resource.register", {"resource_ids": list(step.names), "force": True})
            case "update":
                await party.start(
                    "resource.update", {"resource_id": step.names[0], "metadata": step.metadata}
                )
            case "release":
                await party.start("resource.release", {"resource_ids": list(step.names), "partial": True})
            case "drop":
                self._instances.pop(step.who).drop()
                await wait_all_tasks_blocked()

    async def _watch(self, step: Step) -> None:
        party = await self._scenario.connect(subprotocol=step.subprotocol, buffer_bytes=500)
        params = dict(step.wanted)
        if step.begin < 1:
            span = self._scenario.revision - self._base
            params["from_revision"] = self._base + int(step.begin * span)
        elif step.begin > 2:
            params["snapshot"] = True
        started = await party.ask("resource.watch", **params)
        if step.is_slow:
            party.read_slowly(0.01)
        # one of several pages is not how things were: the others are asked for later
        is_whole = "next_cursor" not in started
        self.watches.append(
            (party, Told(started), step.wanted, started.get("resources") if is_whole else None)
        )


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from((0.0, 0.0004, 1.0)))
def test_every_watch_is_told_what_the_log_says_and_nothing_else(script: list[Step], tick: float) -> None:
    """``tick``: how long everything takes that looks at the clock. Whatever can let others run then does, or often."""
    trio.run(_replay, script, tick, clock=MockClock(autojump_threshold=0))


async def _replay(script: list[Step], tick: float) -> None:
    ticks = itertools.count()
    chronicles: list[Chronicle] = []

    def make_log(router: Router, base: int) -> Log:
        chronicles.append(Chronicle(router))
        return LocalLog(base=base, follower=chronicles[0], on_fault=router.fail, on_error=router.report)

    limits = Settings(
        anonymous_roles=("caller", "instance", "admin"),
        outbox_soft_bytes=1000,
        max_message_bytes=2048,
    )
    async with open_scenario(limits, make_log=make_log, turn_clock=lambda: next(ticks) * tick) as scenario:
        [chronicle] = chronicles
        world = World(scenario, chronicle)
        for step in script:
            await world.take(step)
        await trio.sleep(5)  # the slow ones read on
        await wait_all_tasks_blocked()
        for party, told, wanted, snapshot in world.watches:
            for message in party.take_news():
                told.take(message)
            assert [(revision, _heard(event)) for revision, event in told.events] == chronicle.told(
                wanted, told.after
            )
            if snapshot is not None and "tags" not in wanted and "resource_type" not in wanted:
                await _check_state(party, snapshot, told, wanted)


async def _check_state(party: Party, snapshot: list[Json], told: Told, wanted: Json) -> None:
    """What there was, and what has happened since, are what there is."""
    seen = {info["resource_id"]: info["epoch"] for info in snapshot}
    for _, event in told.events:
        info = event["resource"]
        if event["event"] in ("released", "expired"):
            seen.pop(info["resource_id"], None)
        else:
            seen[info["resource_id"]] = info["epoch"]
            if wanted.get("instance_id", info["owner_instance_id"]) != info["owner_instance_id"] or (
                wanted.get("service_name", info["service_name"]) != info["service_name"]
            ):
                del seen[info["resource_id"]]  # it has left what is watched
    page = await party.ask("resource.query", **wanted)
    there = page["resources"]
    while page["has_more"]:  # what is large is told in more pages than one
        page = await party.ask("resource.query", **wanted, cursor=page["next_cursor"])
        there += page["resources"]
    assert seen == {info["resource_id"]: info["epoch"] for info in there}


async def test_where_a_watch_begins_makes_no_difference_to_what_follows(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        whole = await scenario.connect("whole")
        told = await start_watch(whole)
        one = await scenario.owner("one", *NAMES)
        for n in range(20):
            await one.ask("resource.release", resource_ids=[NAMES[n % 4]])
            await one.ask("resource.register", resource_ids=[NAMES[n % 4]])
        one.drop()
        await trio.sleep(1)
        for message in whole.take_news():
            told.take(message)
        for after in range(told.after, scenario.revision + 1):
            reader = await scenario.connect()
            part = await start_watch(reader, from_revision=after)
            await trio.sleep(1)
            for message in reader.take_news():
                part.take(message)
            assert [_heard(event) for _, event in part.events] == [
                _heard(event) for revision, event in told.events if revision > after
            ]
            await reader.aclose()
