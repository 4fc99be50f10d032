"""What the audit log holds of what happens over the wire."""

import json
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute.audit.memory import MemoryStore
from resroute.audit.records import Entry, Filters, Touched
from resroute.audit.trail import MemoryTrail
from resroute.ids import InstanceId, ResourceId
from resroute.router.auditing import RECORDED_AT_ONCE
from resroute.router.router import Router
from resroute.settings import Heartbeat, Settings
from resroute.transport.memory import MemoryPeer, memory_transport_pair
from tests.scenario import Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


def store_of(scenario: Scenario) -> MemoryStore:
    trail = scenario.router.trail
    assert isinstance(trail, MemoryTrail)
    return trail.store


def recorded(scenario: Scenario, filters: Filters | None = None) -> list[Entry]:
    page = store_of(scenario).query(filters or Filters(), limit=1000)
    return [record.entry for record in page.records]


async def wait_recorded(scenario: Scenario, count: int) -> list[Entry]:
    await scenario.wait_until(lambda: len(recorded(scenario)) >= count)
    entries = recorded(scenario)
    assert len(entries) == count, entries
    return entries


def names(entry: Entry) -> list[str]:
    return [touched.resource_id for touched in entry.resources]


async def who(party: Party) -> tuple[str, str]:
    info = await party.ask("session.info")
    return info["subject"], info["session_id"]


def asked_by(entry: Entry) -> tuple[str, str] | None:
    return None if entry.actor is None else (entry.actor.subject, entry.actor.session_id)


async def test_what_owners_do_with_their_own_is_not_recorded(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "a", "b", "c")
        await owner.ask("resource.update", resource_id="a", metadata={"tags": ["x"], "ttl_seconds": 9})
        await owner.ask("resource.renew", resource_ids=["a"])
        await owner.ask("resource.register", resource_ids=["a", "d"], instance_id="owner", force=True)
        await owner.ask("resource.release", resource_ids=["a", "b", "c", "d"])
        await owner.aclose()
        await scenario.wait_until(lambda: not scenario.statistics().instances)
        assert recorded(scenario) == []


async def test_a_forced_take_over_is_recorded_with_both_owners_and_both_epochs(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        first = await scenario.instance("first", "mail")
        before = (await first.ask("resource.register", resource_ids=["a", "b"]))["epochs"]
        await scenario.owner("second", "c")
        boss = await scenario.instance("boss", "store")
        after = await boss.ask(
            "resource.register", resource_ids=["a", "free", "b", "c"], force=True, trace_id="t-1"
        )
        of_first, of_second = await wait_recorded(scenario, 2)
        assert (of_first.event, of_first.cause, of_first.trace_id) == ("transferred", "forced", "t-1")
        assert (of_first.instance_before, of_first.instance_after) == ("first", "boss")
        assert asked_by(of_first) == await who(boss)
        assert of_first.actor is not None and of_first.actor.instance_id == "boss"
        assert of_first.service_name == "store"
        assert [(it.resource_id, it.epoch_before, it.epoch_after) for it in of_first.resources] == [
            (name, before[name], after["epochs"][name]) for name in ("a", "b")
        ]
        assert (of_second.instance_before, names(of_second)) == ("second", ["c"])
        assert of_second.resource_count == 1


async def test_what_administrators_do_to_others_resources_is_recorded(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("owner", "a", "b")
        boss = await scenario.connect()
        await boss.ask("resource.register", resource_ids=["c"], instance_id="owner", trace_id="t-1")
        await boss.ask("resource.update", resource_id="a", metadata={"tags": ["x"]}, trace_id="t-2")
        await boss.ask("resource.release", resource_ids=["a", "c", "none"], partial=True, trace_id="t-3")
        registered, updated, released = await wait_recorded(scenario, 3)
        for entry, trace_id in ((registered, "t-1"), (updated, "t-2"), (released, "t-3")):
            assert (entry.cause, entry.trace_id, asked_by(entry)) == ("admin", trace_id, await who(boss))
        assert (registered.event, names(registered)) == ("registered", ["c"])
        assert (registered.instance_before, registered.instance_after) == (None, "owner")
        assert (updated.event, names(updated)) == ("updated", ["a"])
        assert (updated.instance_before, updated.instance_after) == ("owner", "owner")
        assert (released.event, names(released)) == ("released", ["a", "c"])
        assert (released.instance_before, released.instance_after) == ("owner", None)


async def test_what_is_refused_is_not_recorded(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("owner", "a")
        boss = await scenario.connect()
        await boss.refused("resource.release", resource_ids=["a", "none"])
        await boss.refused("resource.update", resource_id="a", metadata={}, expected_version=7)
        await boss.refused("session.end", session_id="session-0", reason="")
        assert recorded(scenario) == []


async def test_a_session_that_an_administrator_ends_is_recorded_with_what_it_left_behind(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "a", "b")
        boss = await scenario.connect()
        _, ended = await who(owner)
        await boss.ask("session.end", session_id=ended, reason="it loops", trace_id="t-1")
        await scenario.wait_until(lambda: not scenario.statistics().clean_ups)
        end, clean_up = await wait_recorded(scenario, 2)
        assert (end.event, end.cause, end.reason, end.trace_id) == (
            "session_ended",
            "admin",
            "it loops",
            "t-1",
        )
        assert (end.about_session_id, end.instance_before, asked_by(end)) == (
            ended,
            "owner",
            await who(boss),
        )
        assert (clean_up.event, clean_up.cause, clean_up.actor) == ("released", "admin", None)
        assert (clean_up.about_session_id, names(clean_up)) == (ended, ["a", "b"])


async def test_what_a_session_leaves_behind_is_one_record_and_found_by_each_resource(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_resources_per_instance=5000)) as scenario:
        owned = [f"r:{n:04}" for n in range(3000)]
        owner = await scenario.owner("owner", *owned)
        owner.drop()
        await scenario.wait_until(lambda: not scenario.statistics().instances)
        rival = await scenario.owner("rival", "r:2999")  # reclaimed on the spot
        await scenario.wait_until(lambda: not scenario.statistics().unreclaimed)
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.cause, entry.resource_count) == ("released", "session_ended", 3000)
        assert (entry.instance_before, entry.instance_after) == ("owner", None)
        for name in ("r:0000", "r:1500", "r:2999"):
            assert len(recorded(scenario, Filters(resource_id=ResourceId(name)))) == 1
        record = store_of(scenario).query(Filters(), limit=1).records[0]
        told = store_of(scenario).resources_of(record.id, limit=5000)
        assert [touched.resource_id for touched in told] == owned
        await rival.ask("session.ping")


async def test_a_lost_heartbeat_is_recorded_even_of_an_instance_that_owned_nothing(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=2, timeout_seconds=5))
    async with open_scenario(settings) as scenario:
        for name, owned in (("idle", ()), ("owner", ("a",))):
            party = await scenario.instance(name)
            if owned:
                await party.ask("resource.register", resource_ids=list(owned))
            party.stall()
        entries = await wait_recorded(scenario, 2)
        assert {(entry.instance_before, entry.cause, entry.resource_count) for entry in entries} == {
            ("idle", "heartbeat_lost", 0),
            ("owner", "heartbeat_lost", 1),
        }


async def test_expiries_are_recorded_by_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        for name in ("one", "two"):
            party = await scenario.instance(name)
            ids = [f"{name}:{n}" for n in range(3)]
            await party.ask(
                "resource.register",
                resource_ids=ids,
                metadata={resource_id: {"ttl_seconds": 5} for resource_id in ids},
            )
        await trio.sleep(10)
        entries = recorded(scenario)
        assert {(entry.event, entry.cause, entry.actor) for entry in entries} == {
            ("expired", "expired", None)
        }
        assert sorted(names_of(entries)) == [f"{name}:{n}" for name in ("one", "two") for n in range(3)]
        assert all(entry.resource_count == len(entry.resources) for entry in entries)
        of_one = recorded(scenario, Filters(instance_id=InstanceId("one")))
        assert sorted(names_of(of_one)) == ["one:0", "one:1", "one:2"]


def names_of(entries: Sequence[Entry]) -> list[str]:
    return [name for entry in entries for name in names(entry)]


async def test_an_administrators_release_of_what_would_expire_leaves_no_timer(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["a"], metadata={"a": {"ttl_seconds": 10_000_000}})
        boss = await scenario.connect()
        await boss.ask("resource.release", resource_ids=["a"])
        assert scenario.statistics().timers == 0


async def test_what_a_caller_writes_as_its_trace_id_finds_the_record(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("owner", "a")
        boss = await scenario.connect()
        answer = await boss.ask("resource.release", resource_ids=["a"])
        [entry] = await wait_recorded(scenario, 1)
        assert entry.trace_id == answer["trace_id"]


@pytest.mark.parametrize("count", [2, 3 * RECORDED_AT_ONCE])
async def test_a_transfer_is_recorded_with_its_id_and_reason_whoever_asks_for_it(
    autojump_clock: MockClock, count: int
) -> None:
    ids = [f"doc:{number:04}" for number in range(count)]
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", *ids)
        await scenario.instance("heir")
        answer = await owner.ask(
            "resource.transfer",
            resource_ids=ids,
            from_instance_id="owner",
            to_instance_id="heir",
            reason="lighter",
        )
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.cause, entry.reason) == ("transferred", "transfer", "lighter")
        assert (entry.transfer_id, entry.trace_id) == (answer["transfer_id"], answer["trace_id"])
        assert (entry.instance_before, entry.instance_after) == ("owner", "heir")
        assert (entry.resource_count, asked_by(entry)) == (count, await who(owner))
        await wait_all_tasks_blocked()
        [record] = store_of(scenario).query(Filters(), limit=10).records
        touched = store_of(scenario).resources_of(record.id, limit=1000)
        assert [resource.resource_id for resource in touched] == ids
        assert {resource.epoch_after for resource in touched} == set(answer["epochs"].values())


async def test_what_administrators_do_in_bulk_is_recorded(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("owner", "a", "b", "c")
        boss = await scenario.instance("boss")
        await boss.ask(
            "resource.bulk_register",
            resources=[{"resource_id": name, "force": True} for name in ("a", "free")],
            trace_id="t-1",
        )
        await boss.ask(
            "resource.bulk_register", resources=[{"resource_id": "d"}], instance_id="owner", trace_id="t-2"
        )
        await boss.ask(
            "resource.bulk_release",
            resource_ids=["b", "c"],
            instance_id="owner",
            batch_size=1,
            continue_on_error=True,
            trace_id="t-3",
        )
        await boss.ask("resource.bulk_release", resource_ids=["a", "free"])
        entries = await wait_recorded(scenario, 4)
        assert [(entry.event, entry.cause, entry.trace_id, names(entry)) for entry in entries] == [
            ("transferred", "forced", "t-1", ["a"]),
            ("registered", "admin", "t-2", ["d"]),
            ("released", "admin", "t-3", ["b"]),
            ("released", "admin", "t-3", ["c"]),
        ]


@pytest.mark.parametrize("free", [0, 1])
async def test_very_many_resources_of_a_bulk_are_in_its_record_before_long(
    autojump_clock: MockClock, free: int
) -> None:
    ids = [f"doc:{number:04}" for number in range(3 * RECORDED_AT_ONCE)]
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.instance("owner")
        epochs = (await owner.ask("resource.register", resource_ids=ids[free:]))["epochs"]
        boss = await scenario.instance("boss")
        taken = await boss.ask(
            "resource.bulk_register", resources=[{"resource_id": name, "force": True} for name in ids]
        )
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.cause, entry.resource_count) == ("transferred", "forced", len(ids) - free)
        await wait_all_tasks_blocked()
        [record] = store_of(scenario).query(Filters(), limit=10).records
        touched = store_of(scenario).resources_of(record.id, limit=1000)
        [epoch] = {batch["epoch"] for batch in taken["batch_results"]}
        assert list(touched) == [Touched(ResourceId(name), epochs[name], epoch) for name in ids[free:]]


async def test_a_router_that_stops_has_recorded_all_of_a_bulk(autojump_clock: MockClock) -> None:
    ids = [f"doc:{number:04}" for number in range(1000)]
    router = Router(ADMIN)
    assert isinstance(router.trail, MemoryTrail)
    store = router.trail.store

    async def ask(peer: MemoryPeer, method: str, **params: object) -> None:
        await peer.send(
            json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params}).encode()
        )
        while f'"id":"{method}","result"' not in (await peer.receive()).decode():
            pass

    async with trio.open_nursery() as nursery:
        await nursery.start(router.serve)
        peers: list[MemoryPeer] = []
        for name in ("owner", "boss"):
            transport, peer = memory_transport_pair()
            nursery.start_soon(router.serve_transport, transport)
            await ask(peer, "instance.register", service_name="s", instance_id=name)
            peers.append(peer)
        owner, boss = peers
        await ask(owner, "resource.register", resource_ids=ids)
        forced = [{"resource_id": name, "force": True} for name in ids]
        await ask(boss, "resource.bulk_register", resources=forced)
        [record] = store.query(Filters(event="transferred"), limit=10).records
        assert len(store.resources_of(record.id, limit=2000)) < len(ids), "or this shows nothing"
        nursery.cancel_scope.cancel()
    assert len(store.resources_of(record.id, limit=2000)) == len(ids)


async def test_what_an_administrator_has_waited_for_on_behalf_of_another_is_recorded(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "a")
        await scenario.instance("heir")
        boss = await scenario.connect()
        pending = await boss.start(
            "resource.register",
            {"resource_ids": ["a"], "instance_id": "heir", "wait_seconds": 50, "trace_id": "t-1"},
        )
        await boss.ask("session.ping")
        await owner.ask("resource.release", resource_ids=["a"])
        assert (await pending.result())["success"]
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.cause, entry.trace_id) == ("registered", "admin", "t-1")
        assert (entry.instance_after, names(entry)) == ("heir", ["a"])


async def test_who_is_granted_what_an_administrator_releases_is_not_the_administrators_doing(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("owner", "a")
        heir = await scenario.instance("heir")
        pending = await heir.start("resource.register", {"resource_ids": ["a"], "wait_seconds": 50})
        await heir.ask("session.ping")
        boss = await scenario.connect()
        await boss.ask("resource.release", resource_ids=["a"])
        assert (await pending.result())["success"]
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.instance_before, names(entry)) == ("released", "owner", ["a"])


async def test_a_drain_is_recorded_by_heir_and_what_found_none_as_released(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=3)) as scenario:
        owner = await scenario.owner("owner", "a", "b", "c")
        await scenario.owner("heir", "x", "y")
        await owner.ask("instance.drain", trace_id="t-9")
        handed_over, released = sorted(await wait_recorded(scenario, 2), key=lambda e: e.event, reverse=True)
        assert (handed_over.event, handed_over.cause) == ("transferred", "drain")
        assert (handed_over.instance_before, handed_over.instance_after) == ("owner", "heir")
        assert handed_over.transfer_id is not None and handed_over.reason == "instance owner drains"
        assert (released.event, released.cause, released.instance_before) == ("released", "drain", "owner")
        assert sorted(names(handed_over) + names(released)) == ["a", "b", "c"]
        for entry in (handed_over, released):
            assert asked_by(entry) == await who(owner)
            assert entry.trace_id == "t-9"


async def test_a_rebalance_is_recorded_by_whom_something_was_moved_to(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.owner("busy", "a", "b", "c")
        await scenario.instance("idle-1")
        await scenario.instance("idle-2")
        boss = await scenario.connect()
        result = await boss.ask("service.rebalance", service_name="service", by="count", trace_id="t-10")
        entries = sorted(await wait_recorded(scenario, 2), key=lambda entry: str(entry.instance_after))
        assert [(entry.instance_after, names(entry)) for entry in entries] == [
            ("idle-1", ["a"]),
            ("idle-2", ["b"]),
        ]
        assert [entry.transfer_id for entry in entries] == result["transfer_ids"]
        for entry in entries:
            assert (entry.event, entry.cause, entry.instance_before) == ("transferred", "rebalance", "busy")
            assert asked_by(entry) == await who(boss)
            assert (entry.trace_id, entry.reason) == ("t-10", "service service is rebalanced by count")


async def test_the_end_of_a_grace_is_recorded_and_the_grace_itself_is_not(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "a", "b", resume_grace_seconds=10)
        _, session_id = await who(owner)
        owner.drop()
        await scenario.wait_until(lambda: scenario.statistics().suspended == 1)
        assert recorded(scenario) == []
        [entry] = await wait_recorded(scenario, 1)
        assert (entry.event, entry.cause, entry.actor) == ("released", "session_ended", None)
        assert (entry.instance_before, entry.about_session_id) == ("owner", session_id)
        assert (sorted(names(entry)), entry.resource_count) == (["a", "b"], 2)
        assert entry.reason == "its grace is over"


async def test_an_administrator_who_ends_a_grace_is_recorded_with_the_reason(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        boss = await scenario.instance("boss")
        for name, resource_id in (("first", "a"), ("second", "b")):
            owner = await scenario.owner(name, resource_id, resume_grace_seconds=30)
            _, session_id = await who(owner)
            owner.drop()
            await scenario.wait_until(lambda: scenario.statistics().suspended == 1)
            if name == "first":
                await boss.ask("session.end", session_id=session_id, reason="gone for good", trace_id="t-1")
            else:
                await boss.ask("instance.drain", instance_id=name, trace_id="t-2")
        await scenario.wait_until(lambda: sum(map(len, map(names, recorded(scenario)))) == 2)
        told = await wait_recorded(scenario, 4)
        released = [entry for entry in told if entry.event == "released"]
        ended = [entry for entry in told if entry.event == "session_ended"]
        assert [(entry.cause, names(entry), entry.reason) for entry in released] == [
            ("admin", ["a"], None),
            ("drain", ["b"], None),
        ]
        assert [(asked_by(entry), entry.instance_before, entry.trace_id) for entry in ended] == [
            (await who(boss), "first", "t-1"),
            (await who(boss), "second", "t-2"),
        ]
        assert ended[0].reason == "gone for good"


async def test_who_resumes_its_own_is_not_recorded_whatever_its_roles(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, again = await scenario.connect("owner"), await scenario.connect("again")
        about = {"service_name": "service", "instance_id": "owner"}
        token = (await owner.ask("instance.register", **about))["resume_token"]
        await owner.ask("resource.register", resource_ids=["a"])
        result = await again.ask("instance.register", **about, resume_token=token)
        assert list(result["resumed"]) == ["a"]
        await owner.wait_ended()
        await trio.sleep(1)
        assert recorded(scenario) == []
