"""What owners push to those who have called them, from both ends."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, Caller, Client, Notification, current_call
from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from tests.client.scripted import CALLER, delivered, open_scripted
from tests.client.test_calls import start_call
from tests.client.test_instance import start_instance
from tests.client.test_serving import open_serving

PUSHED = {"resource_id": "room:1", "instance_id": "i1"}


class Listening:
    """What somebody has heard."""

    def __init__(self) -> None:
        self.notes: list[Notification] = []
        self.error: Exception | None = None
        self.stopped = trio.Event()


def start_listening(nursery: trio.Nursery, client: Client, *, resume: trio.Event | None = None) -> Listening:
    listening = Listening()

    async def listen() -> None:
        try:
            async with client.open_notifications() as notes:
                async for note in notes:
                    listening.notes.append(note)
                    if resume is not None:
                        await resume.wait()
        except Exception as error:
            listening.error = error
        finally:
            listening.stopped.set()

    nursery.start_soon(listen)
    return listening


async def test_whoever_listens_hears_what_owners_push(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        await router.send(delivered(None, "unheard", **PUSHED))
        await wait_all_tasks_blocked()
        listening = start_listening(nursery, client)
        also = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send(
            delivered(None, "said", {"text": "hello", "n": 2**70}, **PUSHED),
            delivered(None, "listed", [1, None], **PUSHED),
            {"jsonrpc": "2.0", "method": "bare"},
        )
        await wait_all_tasks_blocked()
        assert listening.notes == [
            Notification("said", {"text": "hello", "n": 2**70}, "room:1", "i1"),
            Notification("listed", [1, None], "room:1", "i1"),
            Notification("bare"),
        ]
        assert also.notes == listening.notes
        nursery.cancel_scope.cancel()
    assert router.frames == []


async def test_the_routers_own_notices_are_not_for_listeners(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        listening = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send(
            *(
                delivered(None, method, {"reason": "r"})
                for method in ("session.closing", "session.expiring", "resource.events", "$/ownerChanged")
            )
        )
        await wait_all_tasks_blocked()
        assert listening.notes == []
        nursery.cancel_scope.cancel()


async def test_an_instance_tells_pushes_from_calls_that_nobody_waits_for(autojump_clock: MockClock) -> None:
    calls: list[str] = []

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, lambda call: calls.append(call.method))
        listening = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send(
            delivered(None, "pushed", **PUSHED),
            delivered(None, "called", resource_id="room:2", epoch=1, service_name="s", caller=CALLER),
        )
        await wait_all_tasks_blocked()
        assert calls == ["called"]
        assert [note.method for note in listening.notes] == ["pushed"]
        life.leave()
        await router.expect_leaving()
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_connection_is_told_after_what_had_come(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        listening = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "last", **PUSHED))
        await router.close(1001, "going away")
        await listening.stopped.wait()
        assert [note.method for note in listening.notes] == ["last"]
        assert isinstance(listening.error, resroute.ConnectionLost)
        assert listening.error.code == 1001
        late = start_listening(nursery, client)
        await late.stopped.wait()
        assert isinstance(late.error, resroute.ConnectionLost)


async def test_who_falls_behind_is_told_and_others_are_not_held_up(autojump_clock: MockClock) -> None:
    resume = trio.Event()
    text = "x" * 100_000
    sent = MAX_ARRIVALS_BYTES // len(text) + 5
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        slow = start_listening(nursery, client, resume=resume)
        quick = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        for n in range(sent):
            await router.send(delivered(None, "said", [n, text], **PUSHED))
        await wait_all_tasks_blocked()
        assert len(quick.notes) == sent
        resume.set()
        await slow.stopped.wait()
        assert isinstance(slow.error, resroute.FellBehind)
        heard = [note.params[0] for note in slow.notes]
        assert heard == list(range(len(heard))), "without a gap up to there"
        assert MAX_ARRIVALS_BYTES // len(text) <= len(heard) < sent
        again = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "said", [sent], **PUSHED))
        await wait_all_tasks_blocked()
        assert [note.params for note in again.notes] == [[sent]]
        assert quick.notes[-1] == again.notes[0]
        nursery.cancel_scope.cancel()


async def test_long_names_of_what_is_pushed_are_bounded_too(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), client.open_notifications() as notes:
        for _ in range(20):
            await router.send(delivered(None, "x" * 1_000_000, **PUSHED))
        await wait_all_tasks_blocked()
        heard = 0
        with pytest.raises(resroute.FellBehind):
            while True:
                await anext(notes)
                heard += 1
        assert heard == 5


async def test_what_cannot_be_built_is_counted_and_the_rest_is_heard(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        listening = start_listening(nursery, client)
        await wait_all_tasks_blocked()
        await router.send_text('{"jsonrpc":"2.0","method":"bad","params":[1e999]}')
        await router.send(delivered(None, "good", **PUSHED))
        await wait_all_tasks_blocked()
        assert [note.method for note in listening.notes] == ["good"]
        assert client.statistics().unreadable_messages == 1
        nursery.cancel_scope.cancel()


async def test_nothing_is_heard_once_the_block_has_ended(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        async with client.open_notifications() as notes:
            pass
        await router.send(delivered(None, "late", **PUSHED))
        await wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            await anext(notes)


async def test_whoever_waits_for_notes_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), client.open_notifications() as notes:
        with trio.move_on_after(1) as scope:
            await anext(notes)
        assert scope.cancelled_caught
        await router.send(delivered(None, "one", **PUSHED))
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(notes)
        assert scope.cancelled_caught
        assert (await anext(notes)).method == "one", "it was not lost to the cancellation"


# --- the owner's side ---------------------------------------------------------------------------------------------


async def test_a_handler_pushes_to_its_caller(autojump_clock: MockClock) -> None:
    class Room:
        async def join(self) -> str:
            await current_call().caller.notify("said", {"text": "welcome"})
            return "joined"

    async with open_serving(Room()) as (_, router):
        await router.send(delivered(1, "join", resource_id="room:1", epoch=3, caller=CALLER))
        request = await router.expect("session.notify")
        assert request["params"] == {
            "session_id": "session-2",
            "resource_id": "room:1",
            "method": "said",
            "params": {"text": "welcome"},
        }
        await router.answer(request, {"delivered_to_outbox": True, "trace_id": "t"})
        assert (await router.receive())["result"] == "joined"


async def test_a_caller_that_is_kept_can_be_told_later(autojump_clock: MockClock) -> None:
    members: set[Caller] = set()

    def join(call: Call) -> None:
        members.add(call.caller)

    async with open_serving(join) as (_, router), trio.open_nursery() as nursery:
        for call_id in (1, 2):
            await router.send(delivered(call_id, "join", resource_id="room:1", epoch=3, caller=CALLER))
            await router.receive()
        [member] = members
        result = start_call(nursery, lambda: member.notify("said"))
        request = await router.expect("session.notify")
        assert request["params"] == {"session_id": "session-2", "resource_id": "room:1", "method": "said"}
        await router.refuse(request, 404, "session_not_found", session_id="session-2")
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.SessionNotFound)


async def test_an_instance_pushes_to_a_session_that_it_has_noted(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        result = start_call(nursery, lambda: instance.notify("session-9", "room:1", "said", ["hello"]))
        request = await router.expect("session.notify")
        assert request["params"] == {
            "session_id": "session-9",
            "resource_id": "room:1",
            "method": "said",
            "params": ["hello"],
        }
        await router.answer(request, {"delivered_to_outbox": True, "trace_id": "t"})
        await wait_all_tasks_blocked()
        assert (result.value, result.error) == (None, None)
        life.leave()
        await router.expect_leaving()


@pytest.mark.parametrize(
    "make", [Caller, lambda: Caller("session-2"), lambda: Call(method="m").caller], ids=["a", "b", "c"]
)
async def test_who_was_called_by_no_resource_cannot_push(make: Callable[[], Caller]) -> None:
    with pytest.raises(ValueError, match="called a resource"):
        await make().notify("said")


async def test_a_caller_by_service_cannot_be_pushed_to(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> str:
        with pytest.raises(ValueError, match="called a resource"):
            await call.caller.notify("said")
        return "refused"

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", service_name="s", caller=CALLER))
        assert (await router.receive())["result"] == "refused"


async def test_pushing_what_json_cannot_say_is_refused_here(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> str:
        params: Any = {"a": object()}
        with pytest.raises(TypeError):
            await call.caller.notify("said", params)
        return "refused"

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", resource_id="room:1", epoch=3, caller=CALLER))
        assert (await router.receive())["result"] == "refused"
