"""What an instance hears of changes that are not its own doing."""

from datetime import UTC, datetime
from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Acquired, Instance, Lost, ResourceMetadata
from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from resroute.client.changes import Change
from tests.client.scripted import delivered, open_scripted
from tests.client.test_instance import register, start_instance

METADATA = {
    "version": 3,
    "created_by": "i2",
    "last_modified": "2026-01-02T03:04:05Z",
    "resource_type": "room",
    "tags": ["open"],
    "attributes": {"seats": 4},
    "priority": 1,
    "ttl_seconds": None,
}


class Listening:
    """What somebody has heard."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.error: Exception | None = None
        self.stopped = trio.Event()


def start_listening(
    nursery: trio.Nursery, instance: Instance, *, resume: trio.Event | None = None
) -> Listening:
    listening = Listening()

    async def listen() -> None:
        try:
            async with instance.open_changes() as changes:
                async for change in changes:
                    listening.changes.append(change)
                    if resume is not None:
                        await resume.wait()
        except Exception as error:
            listening.error = error
        finally:
            listening.stopped.set()

    nursery.start_soon(listen)
    return listening


async def test_whoever_listens_hears_what_was_handed_over_and_what_was_taken(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 5, "b": 5})
        await router.send(delivered(None, "resource.lost", {"resource_ids": ["b"], "cause": "expired"}))
        await wait_all_tasks_blocked()
        listening = start_listening(nursery, instance)
        also = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        await router.send(
            delivered(
                None,
                "resource.acquired",
                {
                    "resources": [
                        {"resource_id": "c", "epoch": 7, "metadata": METADATA},
                        {"resource_id": "d", "epoch": 7, "metadata": None},
                    ],
                    "cause": "transfer",
                    "from_instance_id": "i2",
                    "transfer_id": "t1",
                },
            ),
            delivered(
                None,
                "resource.lost",
                {
                    "resource_ids": ["a", "c"],
                    "cause": "forced",
                    "new_owner": "i3",
                    "transfer_id": "t2",
                    "reason": "it was needed",
                },
            ),
        )
        await wait_all_tasks_blocked()
        metadata = ResourceMetadata(
            resource_type="room",
            version=3,
            tags=("open",),
            attributes={"seats": 4},
            created_by="i2",
            last_modified=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            priority=1,
        )
        transferred = partial(Acquired, cause="transfer", from_instance_id="i2", transfer_id="t1")
        taken = {"cause": "forced", "new_owner": "i3", "transfer_id": "t2", "reason": "it was needed"}
        assert listening.changes == [
            transferred(resource_id="c", epoch=7, metadata=metadata),
            transferred(resource_id="d", epoch=7),
            Lost(resource_id="a", epoch=5, **taken),
            Lost(resource_id="c", epoch=7, **taken),
        ]
        assert also.changes == listening.changes
        assert instance.resources == {"d": 7}
        life.leave()
        await router.expect_leaving()


async def test_what_the_instance_does_itself_is_no_news(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        listening = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        await register(nursery, router, instance, {"a": 5})
        nursery.start_soon(instance.release, "a")
        request = await router.expect("resource.release")
        await router.answer(request, {"success": True, "released": ["a"], "failed": {}})
        await wait_all_tasks_blocked()
        assert instance.resources == {}
        assert listening.changes == []
        life.leave()
        await router.expect_leaving()


async def test_the_loss_of_what_was_never_heard_of_is_told_without_an_epoch(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        listening = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "resource.lost", {"resource_ids": ["a"], "cause": "expired"}))
        await wait_all_tasks_blocked()
        assert listening.changes == [Lost(resource_id="a", epoch=None, cause="expired")]
        life.leave()
        await router.expect_leaving()


async def test_the_end_of_the_connection_is_told_after_what_had_come(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        listening = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "resource.lost", {"resource_ids": ["a"], "cause": "expired"}))
        await router.close(1001, "going away")
        await listening.stopped.wait()
        [lost] = listening.changes
        assert isinstance(lost, resroute.Lost)
        assert lost.resource_id == "a"
        assert isinstance(listening.error, resroute.ConnectionLost)
        assert listening.error.code == 1001
        late = start_listening(nursery, instance)
        await late.stopped.wait()
        assert isinstance(late.error, resroute.ConnectionLost)
        life.leave()


async def test_nothing_more_is_told_once_the_instance_has_left(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        listening = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        life.leave()
        await router.expect_leaving()
        await listening.stopped.wait()
        assert isinstance(listening.error, trio.ClosedResourceError)
        late = start_listening(nursery, instance)
        await late.stopped.wait()
        assert isinstance(late.error, trio.ClosedResourceError)


async def test_who_falls_behind_is_told_and_others_are_not_held_up(autojump_clock: MockClock) -> None:
    resume = trio.Event()
    reason = "x" * 100_000
    sent = MAX_ARRIVALS_BYTES // len(reason) + 5
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        slow = start_listening(nursery, instance, resume=resume)
        quick = start_listening(nursery, instance)
        await wait_all_tasks_blocked()
        for n in range(sent):
            lost = {"resource_ids": [f"r{n}"], "cause": "forced", "reason": reason}
            await router.send(delivered(None, "resource.lost", lost))
        await wait_all_tasks_blocked()
        assert len(quick.changes) == sent
        resume.set()
        await slow.stopped.wait()
        assert isinstance(slow.error, resroute.FellBehind)
        assert slow.changes == quick.changes[: len(slow.changes)], "without a gap up to there"
        assert MAX_ARRIVALS_BYTES // len(reason) <= len(slow.changes) < sent
        life.leave()
        await router.expect_leaving()
