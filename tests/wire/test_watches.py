"""Watches: every change that matches, once and in order, from a snapshot or an earlier revision on."""

import itertools
import json

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from resroute.transport.interface import MSGPACK
from tests.scenario import Json, open_scenario
from tests.watching import Told, start_watch, take_all, wait_told

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


async def test_a_watch_is_told_what_happens_in_order_and_why(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        watcher = await scenario.connect("watcher")
        told = await start_watch(watcher)
        one = await scenario.owner("one", "doc:1", "doc:2")
        await one.ask("resource.update", resource_id="doc:1", metadata={"tags": ["new"]})
        two = await scenario.instance("two")
        await two.ask("resource.register", resource_ids=["doc:1"], force=True)
        await one.ask("resource.release", resource_ids=["doc:2"])
        lasting = {"doc:3": {"ttl_seconds": 1}}
        await two.ask("resource.register", resource_ids=["doc:3"], metadata=lasting)
        await trio.sleep(2)
        two.drop()
        await wait_told(watcher, told, 8)
        assert told.brief == [
            ("registered", "doc:1", "request"),
            ("registered", "doc:2", "request"),
            ("updated", "doc:1", "request"),
            ("transferred", "doc:1", "forced"),
            ("released", "doc:2", "request"),
            ("registered", "doc:3", "request"),
            ("expired", "doc:3", "expired"),
            ("released", "doc:1", "session_ended"),
        ]
        assert scenario.statistics().watches == 1
        assert scenario.router.metrics.watch_events == 8


async def test_an_event_shows_the_resource_after_it_or_as_it_was_last(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        watcher = await scenario.connect("watcher")
        told = await start_watch(watcher)
        one = await scenario.instance("one", service="red")
        metadata = {"doc:1": {"tags": ["a"], "attributes": {"n": 1}, "ttl_seconds": 60}}
        await one.ask("resource.register", resource_ids=["doc:1"], metadata=metadata)
        [registered] = (await one.ask("resource.query"))["resources"]
        call = await watcher.start_call("doc:1")
        await one.answer(await one.next())
        await call.result()
        two = await scenario.instance("two", service="blue")
        await two.ask("resource.register", resource_ids=["doc:1"], force=True)
        [taken] = (await one.ask("resource.query"))["resources"]
        await two.ask("resource.release", resource_ids=["doc:1"])
        await wait_told(watcher, told, 3)
        first, second, third = (event for _, event in told.events)
        assert first == {"event": "registered", "cause": "request", "resource": registered}
        assert second == {
            "event": "transferred",
            "cause": "forced",
            "previous_owner": "one",
            "resource": taken,
        }
        assert taken["calls_total"] == 1 and taken["service_name"] == "blue"
        assert third == {"event": "released", "cause": "request", "previous_owner": "two", "resource": taken}


async def test_a_change_is_told_to_whoever_it_concerns_before_it_or_after(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        watcher = await scenario.connect("watcher")
        filters: dict[str, dict[str, object]] = {
            "tags": {"tags": ["draft"]},
            "both tags": {"tags": ["draft", "urgent"]},
            "type": {"resource_type": "note"},
            "service": {"service_name": "red"},
            "instance": {"instance_id": "two"},
            "prefix": {"prefix": "doc:"},
            "ids": {"resource_ids": ["doc:1", "doc:9"]},
            "many ids": {"resource_ids": ["doc:1", *(f"no:{n}" for n in range(200))]},
            "several": {"prefix": "doc:", "service_name": "red", "tags": ["draft"]},
            "nobody": {"resource_ids": ["never"], "instance_id": "nobody"},
        }
        watches = {name: await start_watch(watcher, **params) for name, params in filters.items()}
        one = await scenario.instance("one", service="red")
        two = await scenario.instance("two", service="blue")
        said = {"doc:1": {"tags": ["draft"], "resource_type": "note"}}
        await one.ask("resource.register", resource_ids=["doc:1", "img:1"], metadata=said)
        await one.ask("resource.update", resource_id="doc:1", metadata={"tags": ["urgent", "draft"]})
        await one.ask("resource.update", resource_id="doc:1", metadata={"tags": ["final"]})
        await two.ask("resource.register", resource_ids=["doc:1", "img:1"], force=True)
        await two.ask("resource.release", resource_ids=["doc:1"])
        await trio.sleep(1)
        take_all(watcher, *watches.values())
        events = {
            name: [f"{event} {resource_id}" for event, resource_id, _ in told.brief]
            for name, told in watches.items()
        }
        doc = ["registered doc:1", "updated doc:1", "updated doc:1", "transferred doc:1", "released doc:1"]
        assert events == {
            "tags": doc[:3],
            "both tags": ["updated doc:1", "updated doc:1"],
            "type": doc[:2],
            "service": ["registered doc:1", "registered img:1", *doc[1:4], "transferred img:1"],
            "instance": ["transferred doc:1", "transferred img:1", "released doc:1"],
            "prefix": doc,
            "ids": doc,
            "many ids": doc,
            "several": doc[:3],
            "nobody": [],
        }


async def test_a_snapshot_and_what_follows_it_are_the_state(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        names = [f"doc:{n:03}" for n in range(250)]
        owner = await scenario.owner("owner", *names, "img:1")
        watcher = await scenario.connect("watcher")
        started = await watcher.ask("resource.watch", prefix="doc:", snapshot=True)
        told = Told(started)
        seen = started["resources"]
        assert len(seen) == 100 and "total_count" not in started
        await owner.ask("resource.release", resource_ids=names[150:160])
        later, cursor = {}, started["next_cursor"]
        while cursor is not None:
            page = await watcher.ask("resource.query", prefix="doc:", cursor=cursor)
            later.update({info["resource_id"]: page["revision"] for info in page["resources"]})
            seen += page["resources"]
            cursor = page.get("next_cursor")
        await wait_told(watcher, told, 10)
        assert [info["resource_id"] for info in seen] == [n for n in names if n not in names[150:160]]
        assert all(told.revision <= later[name] for name in names[160:])
        nothing = await watcher.ask("resource.watch", prefix="none:", snapshot=True)
        assert nothing["resources"] == [] and "next_cursor" not in nothing
        assert "resources" not in await watcher.ask("resource.watch", prefix="none:")


async def test_a_watch_goes_on_after_any_revision(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        watcher = await scenario.connect("watcher")
        whole = await start_watch(watcher)
        owner = await scenario.instance("owner")
        for n in range(5):
            await owner.ask("resource.register", resource_ids=[f"doc:{n}", f"img:{n}"])
        await wait_told(watcher, whole, 10)
        for after in range(whole.after, scenario.revision + 1):
            reader = await scenario.connect()
            told = await start_watch(reader, from_revision=after)
            assert told.after == after
            expected = [(revision, event) for revision, event in whole.events if revision > after]
            await wait_told(reader, told, len(expected))
            assert told.events == expected
            await reader.aclose()


async def test_nobody_goes_on_after_what_is_no_longer_kept_or_never_was(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(watch_history_events=3)) as scenario:
        owner = await scenario.instance("owner")
        early = scenario.revision
        for n in range(5):
            await owner.ask("resource.register", resource_ids=[f"doc:{n}"])
        refused = await owner.refused("resource.watch", from_revision=early)
        assert (refused.code, refused.type) == (410, "revision_gone")
        oldest = refused.data["oldest_revision"]
        told = await start_watch(owner, from_revision=oldest)
        await wait_told(owner, told, 3)
        for wrong in (-1, scenario.revision + 1, 2**53):
            refused = await owner.refused("resource.watch", from_revision=wrong)
            assert refused.code == -32602 and refused.data["errors"][0]["path"] == "from_revision"
        refused = await owner.refused("resource.watch", from_revision=oldest, snapshot=True)
        assert refused.code == -32602
        assert (await owner.refused("resource.watch", colour="red")).code == -32602
        assert (await owner.refused("resource.watch", resource_ids=[])).code == -32602
        assert scenario.statistics().watches == 1


async def test_a_watch_that_was_ended_is_silent_and_only_its_own_session_ends_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        watcher, other = await scenario.connect("watcher"), await scenario.connect("other")
        told, kept = await start_watch(watcher), await start_watch(watcher)
        refused = await other.refused("resource.unwatch", watch_id=told.watch_id)
        assert (refused.code, refused.type) == (404, "watch_not_found")
        assert refused.data["watch_id"] == told.watch_id
        await watcher.ask("resource.unwatch", watch_id=told.watch_id)
        assert (await watcher.refused("resource.unwatch", watch_id=told.watch_id)).type == "watch_not_found"
        await scenario.owner("owner", "doc:1")
        await wait_told(watcher, kept, 1)
        assert not watcher.has_news
        assert scenario.statistics().watches == 1
        watcher.drop()
        await scenario.wait_until(lambda: not scenario.statistics().watches)


@pytest.mark.parametrize("count", [1, 1000])
async def test_what_a_dead_owner_had_is_told_as_it_is_tidied_away(
    autojump_clock: MockClock, count: int
) -> None:
    async with open_scenario() as scenario:
        watcher = await scenario.connect("watcher")
        owner = await scenario.owner("owner", *(f"doc:{n}" for n in range(count)))
        told = await start_watch(watcher)
        owner.drop()
        await wait_told(watcher, told, count)
        assert {event["cause"] for _, event in told.events} == {"session_ended"}
        revisions = sorted({revision for revision, _ in told.events})
        assert len(revisions) == (1 if count == 1 else len(revisions)) and (count == 1 or len(revisions) > 1)
        middle = revisions[len(revisions) // 2]
        again = await start_watch(watcher, from_revision=middle)
        rest = [(revision, event) for revision, event in told.events if revision > middle]
        await wait_told(watcher, again, len(rest))
        assert again.events == rest


async def test_a_revision_that_is_too_much_for_one_message_is_told_in_several(
    autojump_clock: MockClock,
) -> None:
    """16 MB by one command: more than the outbox ever holds."""
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.instance("owner")
        names = [f"doc:{n}" for n in range(1000)]
        filling = "x" * 16_000
        for start in range(0, 1000, 50):
            some = names[start : start + 50]
            metadata = {name: {"attributes": {"filling": filling}} for name in some}
            await owner.ask("resource.register", resource_ids=some, metadata=metadata)
        watcher = await scenario.connect("watcher")
        binary = await scenario.connect("binary", subprotocol=MSGPACK)
        told, packed = await start_watch(watcher), await start_watch(binary)
        await owner.ask("resource.release", resource_ids=names)
        await wait_told(watcher, told, 1000)
        await wait_told(binary, packed, 1000)
        assert told.events == packed.events
        assert [event["resource"]["resource_id"] for _, event in told.events] == names
        assert told.events[7][1]["resource"]["metadata"]["attributes"] == {"filling": filling}
        assert told.messages > 100 and len({revision for revision, _ in told.events}) == 1


async def test_no_message_of_events_is_over_the_limit(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=4096)) as scenario:
        watcher = await scenario.connect("watcher")
        told = await start_watch(watcher)
        owner = await scenario.instance("owner")
        for start in range(0, 400, 100):
            await owner.ask(
                "resource.register", resource_ids=[f"doc:{n:03}" for n in range(start, start + 100)]
            )
        owner.drop()
        while len(told.events) < 800:
            message = await watcher.next()
            assert len(json.dumps(message, separators=(",", ":"))) <= 4096
            told.take(message)


async def test_who_does_not_read_takes_bounded_memory_and_is_told_that_it_was_left_behind(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(
        watch_history_events=200,
        outbox_soft_bytes=10_000,
        write_timeout_seconds=1000,
        heartbeat=Heartbeat(interval_seconds=1000, timeout_seconds=3000),
    )
    async with open_scenario(settings) as scenario:
        watcher = await scenario.connect("watcher", buffer_bytes=1000)
        told = await start_watch(watcher)
        watcher.stall()
        owner = await scenario.instance("owner")
        most = 0
        for n in range(300):
            await owner.ask("resource.register", resource_ids=[f"doc:{n}", f"img:{n}"])
            await owner.ask("resource.release", resource_ids=[f"doc:{n}", f"img:{n}"])
            most = max(most, scenario.statistics().memory_bytes)
        assert most < 30_000
        watcher.resume()
        while told.oldest is None:
            told.take(await watcher.next())
        assert told.revision < told.oldest <= scenario.revision
        assert scenario.statistics().watches == 0
        assert scenario.router.metrics.watches_lost == 1
        refused = await watcher.refused("resource.watch", from_revision=told.revision)
        assert refused.type == "revision_gone"
        again = await start_watch(watcher, from_revision=told.oldest)
        await owner.ask("resource.register", resource_ids=["last"])
        await scenario.wait_until(lambda: watcher.has_news)
        while again.revision < scenario.revision:
            again.take(await watcher.next())
        assert again.brief[-1] == ("registered", "last", "request")


async def test_who_reads_slowly_is_told_everything_that_is_still_kept(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=2000)) as scenario:
        slow = await scenario.connect("slow", buffer_bytes=300)
        quick = await scenario.connect("quick")
        watches = [await start_watch(slow), await start_watch(slow, prefix="doc:"), await start_watch(quick)]
        slow.read_slowly(0.05)
        owner = await scenario.instance("owner")
        for n in range(100):
            await owner.ask("resource.register", resource_ids=[f"doc:{n}", f"img:{n}"])
        await wait_told(quick, watches[2], 200)
        while len(watches[0].events) < 200 or len(watches[1].events) < 100:
            message = await slow.next()
            [told] = [told for told in watches[:2] if told.watch_id == message["params"]["watch_id"]]
            told.take(message)
        assert watches[0].events == watches[2].events
        assert watches[1].events == [it for it in watches[0].events if it[1]["resource"]["resource_id"] < "e"]


async def test_what_changes_while_the_snapshot_is_made_is_in_it_or_told_and_never_both(
    autojump_clock: MockClock,
) -> None:
    """The clock makes every step of it the last of its turn, so that others get on in between."""
    ticks = itertools.count()
    limits = Settings(max_resources_per_instance=10_000)
    async with open_scenario(limits, turn_clock=lambda: next(ticks) * 1.0, is_lagging=False) as scenario:
        names = [f"doc:{n:04}" for n in range(2000)]
        owner = await scenario.instance("owner")
        said = {name: {"tags": ["a", "b"]} for name in names}
        await owner.ask("resource.register", resource_ids=names, metadata=said)
        watcher = await scenario.connect("watcher")
        wanted = {"prefix": "doc:", "tags": ["a", "b"]}  # to be looked for one by one
        for turn in range(10):
            asked = await watcher.start("resource.watch", {**wanted, "snapshot": True})
            for n in range(turn, 100, 10):
                change = {"resource_id": names[n], "metadata": {"priority": n}, "merge": True}
                await owner.start("resource.update", change)
                await owner.start("resource.release", {"resource_ids": [names[n + 100 * (turn + 1)]]})
                await trio.lowlevel.checkpoint()
            started = await asked.result()
            told = Told(started)
            await trio.sleep(1)
            take_all(watcher, told)
            await watcher.ask("resource.unwatch", watch_id=told.watch_id)
            seen = {info["resource_id"]: _version(info) for info in started["resources"]}
            for _, event in told.events:
                name, version = event["resource"]["resource_id"], _version(event["resource"])
                if event["event"] == "updated" and name in seen:
                    assert version == seen[name] + 1, "the snapshot shows it already"
                    seen[name] = version
            page = await watcher.ask("resource.query", **wanted)
            assert seen == {info["resource_id"]: _version(info) for info in page["resources"]}


def _version(info: Json) -> int:
    return int(info["metadata"]["version"])


async def test_those_who_watch_share_the_memory_and_none_of_them_is_ended_for_it(
    autojump_clock: MockClock,
) -> None:
    """Twenty that do not read, who together might take more than the router has for all."""
    settings = Settings(
        outbox_soft_bytes=200_000,
        max_outbox_total_bytes=1_000_000,
        write_timeout_seconds=1000,
        heartbeat=Heartbeat(interval_seconds=1000, timeout_seconds=3000),
        max_resources_per_instance=100_000,
    )
    async with open_scenario(settings, is_lagging=False) as scenario:
        parties = [await scenario.connect() for _ in range(20)]
        watches = [await start_watch(party) for party in parties]
        for party in parties:
            party.stall()
        owner = await scenario.instance("owner")
        most = 0
        for n in range(0, 2000, 500):
            await owner.ask("resource.register", resource_ids=[f"doc:{n + each}" for each in range(500)])
            await trio.sleep(0.1)
            most = max(most, scenario.statistics().memory_bytes)
        assert 100_000 < most < 1_000_000
        assert (await owner.ask("session.ping"))["trace_id"]
        for party in parties:
            party.resume()
        for party, told in zip(parties, watches, strict=True):
            await wait_told(party, told, 2000)
            assert party.ended is None


async def test_a_watch_can_begin_and_end_in_a_batch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        watcher = await scenario.connect("watcher")
        begun, pinged = watcher.expect("begin"), watcher.expect("ping")
        await watcher.say_batch(
            {"id": "begin", "method": "resource.watch", "params": {"prefix": "doc:", "snapshot": True}},
            {"id": "ping", "method": "session.ping"},
        )
        told = Told(await begun.result())
        await pinged.result()
        await scenario.owner("owner", "doc:1")
        await wait_told(watcher, told, 1)
        ended = watcher.expect("end")
        await watcher.say_batch(
            {"id": "end", "method": "resource.unwatch", "params": {"watch_id": told.watch_id}}
        )
        await ended.result()
        assert scenario.statistics().watches == 0


async def test_bulks_transfers_and_drains_are_told_as_what_they_do(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        watcher = await scenario.connect("watcher")
        one = await scenario.instance("one")
        await scenario.instance("two")
        told = await start_watch(watcher)
        await one.ask("resource.bulk_register", resources=[{"resource_id": f"doc:{n}"} for n in range(3)])
        await one.ask(
            "resource.transfer",
            resource_ids=["doc:0"],
            from_instance_id="one",
            to_instance_id="two",
            reason="to see",
        )
        await one.ask("resource.bulk_release", resource_ids=["doc:1"])
        await one.ask("instance.drain")
        await wait_told(watcher, told, 6)
        assert told.brief == [
            *(("registered", f"doc:{n}", "request") for n in range(3)),
            ("transferred", "doc:0", "transfer"),
            ("released", "doc:1", "request"),
            ("transferred", "doc:2", "drain"),
        ]
        assert {event["resource"]["owner_instance_id"] for _, event in told.events[3:4]} == {"two"}
        assert len({revision for revision, _ in told.events[:3]}) == 1
