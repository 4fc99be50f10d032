"""Whole stories of owners that push, with a real router in memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Caller, Instance, Notification, current_call
from resroute.router.router import Router
from tests.client.scripted import open_client_of, open_router


class Rooms:
    """Tells who has joined what is said."""

    def __init__(self) -> None:
        self.members: list[Caller] = []

    async def join(self) -> str:
        caller = current_call().caller
        self.members.append(caller)
        await caller.notify("welcome", {"to": current_call().resource_id})
        return "joined"

    async def say(self, text: str) -> int:
        for member in self.members:
            await member.notify("said", [text])
        return len(self.members)


@attrs.frozen
class Chat:
    """A router, and an instance that owns ``room:1`` and ``room:2``."""

    router: Router
    instance: Instance
    rooms: Rooms


@asynccontextmanager
async def open_chat() -> AsyncGenerator[Chat]:
    rooms = Rooms()
    async with open_router() as router, open_client_of(router) as owner:
        async with owner.open_instance("chat", rooms, instance_id="i1") as instance:
            await instance.register("room:1", "room:2")
            yield Chat(router, instance, rooms)
    assert set(attrs.astuple(router.statistics())) == {0}


async def next_of(notes: resroute.Notifications, count: int) -> list[Notification]:
    return [await anext(notes) for _ in range(count)]


async def test_owners_push_to_those_who_called_them(autojump_clock: MockClock) -> None:
    async with (
        open_chat() as chat,
        open_client_of(chat.router) as ada,
        open_client_of(chat.router) as bob,
        ada.open_notifications() as for_ada,
        bob.open_notifications() as for_bob,
    ):
        await ada.call("join", resource_id="room:1")
        await bob.call("join", resource_id="room:1")
        assert await bob.call("say", ["hello"], resource_id="room:1") == 2
        expected = [
            Notification("welcome", {"to": "room:1"}, "room:1", "i1"),
            Notification("said", ["hello"], "room:1", "i1"),
        ]
        assert await next_of(for_ada, 2) == expected
        assert await next_of(for_bob, 2) == expected


async def test_pushes_and_answers_arrive_in_the_order_in_which_they_were_sent(
    autojump_clock: MockClock,
) -> None:
    order: list[str] = []
    async with open_chat() as chat, open_client_of(chat.router) as client, trio.open_nursery() as nursery:

        async def listen(task_status: trio.TaskStatus[None]) -> None:
            async with client.open_notifications() as notes:
                task_status.started()
                async for note in notes:
                    order.append(note.method)

        await nursery.start(listen)
        await client.call("join", resource_id="room:1")
        order.append("joined")
        await client.call("say", ["hello"], resource_id="room:1")
        order.append("answered")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert order.index("welcome") < order.index("said")
    assert sorted(order) == ["answered", "joined", "said", "welcome"]


async def test_strangers_and_those_who_have_gone_cannot_be_pushed_to(autojump_clock: MockClock) -> None:
    async with open_chat() as chat, open_client_of(chat.router) as stranger:
        session_id = (await stranger.info()).session_id
        with pytest.raises(resroute.SessionNotFound):
            await chat.instance.notify(session_id, "room:1", "said")
        await stranger.call("join", resource_id="room:1")
        await chat.instance.notify(session_id, "room:1", "said", ["now it may"])
        with pytest.raises(resroute.SessionNotFound):
            await chat.instance.notify(session_id, "room:2", "said")
        with pytest.raises(resroute.SessionNotFound):
            await chat.instance.notify("session-unknown", "room:1", "said")
        with pytest.raises(resroute.InvalidParams):
            await chat.instance.notify(session_id, "room:1", "session.closing")
        async with open_client_of(chat.router) as guest:
            await guest.call("join", resource_id="room:1")
        await wait_all_tasks_blocked()
        with pytest.raises(resroute.SessionNotFound):
            await chat.rooms.members[-1].notify("said")


async def test_only_the_owner_may_push(autojump_clock: MockClock) -> None:
    async with open_chat() as chat, open_client_of(chat.router) as client:
        await client.call("join", resource_id="room:1")
        [member] = chat.rooms.members
        await chat.instance.release("room:1")
        with pytest.raises(resroute.ResourceNotFound):
            await member.notify("said")
        async with client.open_instance("chat", Rooms()) as other:
            await other.register("room:1")
            with pytest.raises(resroute.NotOwner):
                await member.notify("said")


async def test_an_instance_can_be_pushed_to_as_well(autojump_clock: MockClock) -> None:
    async with open_chat() as chat, open_client_of(chat.router) as client:
        rooms = Rooms()
        async with client.open_instance("chat", rooms) as own, client.open_notifications() as notes:
            await own.register("room:3")
            await client.call("join", resource_id="room:1")
            await client.call("join", resource_id="room:3")
            assert [note.resource_id for note in await next_of(notes, 2)] == ["room:1", "room:3"]
            assert len(rooms.members) == 1


async def test_what_is_pushed_without_an_end_ends_nobodys_connection(autojump_clock: MockClock) -> None:
    async with open_chat() as chat, open_client_of(chat.router) as slow, slow.open_notifications() as notes:
        await slow.call("join", resource_id="room:1")
        [member] = chat.rooms.members
        text = "x" * 100_000
        for _ in range(100):
            await member.notify("said", [text])
        heard = 0
        with pytest.raises(resroute.FellBehind):
            async for _ in notes:
                heard += 1
        assert heard > 20
        assert await slow.call("say", ["still here"], resource_id="room:1") == 1
