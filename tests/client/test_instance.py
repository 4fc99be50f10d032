"""An instance: how it comes and goes, and what it knows of what it owns."""

import pytest
import trio
from msgspec import Raw
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, Client, Instance
from resroute.client.owned import MAX_ENDED, Owned
from tests.client.scripted import CALLER, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_calls import start_call

STALE = {"code": 409, "message": "stale epoch", "data": {"type": "stale_epoch"}}


async def echo(call: Call) -> object:
    return call.params


class Life:
    """An instance in a task of its own, that a test can end."""

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self.error: Exception | None = None
        self.done = trio.Event()
        self._leave = trio.Event()
        self._raise: Exception | None = None
        self._scope = trio.CancelScope()

    async def run(self, client: Client, service: object) -> None:
        try:
            with self._scope:
                async with client.open_instance("s", service) as self.instance:
                    await self._leave.wait()
                    if self._raise is not None:
                        raise self._raise
        except Exception as error:
            self.error = error
        finally:
            self.done.set()

    def leave(self, error: Exception | None = None) -> None:
        self._raise = error
        self._leave.set()

    def cancel(self) -> None:
        self._scope.cancel()


async def start_instance(
    nursery: trio.Nursery, client: Client, router: ScriptedRouter, service: object = echo
) -> tuple[Life, Instance]:
    life = Life()
    nursery.start_soon(life.run, client, service)
    await router.expect_register_instance()
    await wait_all_tasks_blocked()
    assert life.instance is not None
    return life, life.instance


async def test_opening_an_instance_says_who_it_is(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def live() -> None:
            async with client.open_instance(
                "s", echo, instance_id="mine", priority=3, max_concurrency=4, metadata={"zone": "a"}
            ) as instance:
                assert (instance.service_name, instance.instance_id) == ("s", "mine")
                assert instance.resources == {}

        nursery.start_soon(live)
        assert await router.expect_register_instance(instance_id="mine") == {
            "service_name": "s",
            "instance_id": "mine",
            "priority": 3,
            "max_concurrency": 4,
            "metadata": {"zone": "a"},
        }
        await router.expect_leaving()


async def test_a_refused_instance_can_be_tried_again(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life = Life()
        nursery.start_soon(life.run, client, echo)
        await router.refuse(
            await router.expect("instance.register"), 409, "instance_conflict", instance_id="i1"
        )
        await life.done.wait()
        assert isinstance(life.error, resroute.InstanceConflict)
        life, instance = await start_instance(nursery, client, router)
        assert instance.instance_id == "i1"
        life.leave()
        await router.expect_leaving()


async def test_a_client_is_an_instance_once(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        with pytest.raises(resroute.AlreadyRegistered) as caught:
            async with client.open_instance("s", echo):
                pass
        assert caught.value.instance_id == "i1"
        life.leave()
        await router.expect_leaving()
        await life.done.wait()
        with pytest.raises(resroute.AlreadyRegistered):
            async with client.open_instance("s", echo):
                pass


async def test_registering_tells_what_is_owned_now(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        result = start_call(nursery, lambda: instance.register("a", "b", partial=True))
        request = await router.expect("resource.register")
        assert request["params"] == {"resource_ids": ["a", "b"], "partial": True}
        await router.answer(
            request,
            {
                "success": False,
                "registered": ["a"],
                "conflicts": {"b": "i2"},
                "epochs": {"a": 5},
                "trace_id": "t",
            },
        )
        await wait_all_tasks_blocked()
        assert result.value == resroute.Registered(
            registered=("a",), conflicts={"b": "i2"}, epochs={"a": 5}, trace_id="t"
        )
        assert instance.resources == {"a": 5}
        life.leave()
        await router.expect_leaving()


async def test_a_conflict_names_the_owner(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        result = start_call(nursery, lambda: instance.register("a"))
        request = await router.expect("resource.register")
        await router.refuse(request, 409, "resource_conflict", conflicts={"a": "i2"}, owner_instance_id="i2")
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ResourceConflict)
        assert result.error.conflicts == {"a": "i2"}
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_releasing_tells_what_is_free_now(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 5, "b": 5})
        result = start_call(nursery, lambda: instance.release("a", "c", partial=True))
        request = await router.expect("resource.release")
        assert request["params"] == {"resource_ids": ["a", "c"], "partial": True}
        await router.answer(
            request,
            {"success": False, "released": ["a"], "failed": {"c": "resource_not_found"}, "trace_id": "t"},
        )
        await wait_all_tasks_blocked()
        assert result.value == resroute.Released(
            released=("a",), failed={"c": "resource_not_found"}, trace_id="t"
        )
        assert instance.resources == {"b": 5}
        life.leave()
        await router.expect_leaving()


async def register(
    nursery: trio.Nursery, router: ScriptedRouter, instance: Instance, epochs: dict[str, int]
) -> None:
    start_call(nursery, lambda: instance.register(*epochs))
    request = await router.expect("resource.register")
    await router.answer(
        request,
        {"success": True, "registered": list(epochs), "conflicts": {}, "epochs": epochs, "trace_id": "t"},
    )
    await wait_all_tasks_blocked()


async def test_notices_keep_what_is_owned_up_to_date(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 5, "b": 5})
        owned = instance.resources
        await router.send(
            delivered(None, "resource.lost")
            | {"params": {"resource_ids": ["a", "never"], "cause": "forced"}},
            delivered(None, "resource.acquired")
            | {
                "params": {
                    "resources": [{"resource_id": "c", "epoch": 9, "metadata": {}}],
                    "cause": "transfer",
                }
            },
            delivered(None, "resource.events") | {"params": {"watch_id": "w"}},
            delivered(None, "session.closing") | {"params": {"reason": "r", "reconnect_after_seconds": 1}},
        )
        await wait_all_tasks_blocked()
        assert owned == {"b": 5, "c": 9}
        with pytest.raises(TypeError):
            owned["d"] = 1  # type: ignore[index]
        life.leave()
        await router.expect_leaving()


async def test_a_notice_right_behind_the_grant_is_not_overtaken_by_it(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        start_call(nursery, lambda: instance.register("a"))
        request = await router.expect("resource.register")
        granted = {"success": True, "registered": ["a"], "conflicts": {}, "epochs": {"a": 5}, "trace_id": "t"}
        await router.send(
            {"jsonrpc": "2.0", "id": request["id"], "result": granted},
            delivered(None, "resource.lost") | {"params": {"resource_ids": ["a"], "cause": "forced"}},
        )
        await wait_all_tasks_blocked()
        assert instance.resources == {}
        life.leave()
        await router.expect_leaving()


async def test_a_call_with_an_epoch_is_news_of_a_grant(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        registering = start_call(nursery, lambda: instance.register("a"), seconds=1)
        await router.expect("resource.register")
        await router.expect("$/cancelRequest")
        assert registering.was_cancelled
        await router.send(delivered(1, "m", resource_id="a", epoch=7))
        await router.receive()
        assert instance.resources == {"a": 7}
        await router.send(delivered(2, "m", resource_id="a", epoch=6))
        await router.receive()
        assert instance.resources == {"a": 7}
        life.leave()
        await router.expect_leaving()


async def test_a_notice_that_makes_no_sense_is_counted(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        await router.send(
            delivered(None, "resource.lost", {"resource_ids": 7}), delivered(None, "$/cancelRequest")
        )
        await wait_all_tasks_blocked()
        assert client.statistics().unreadable_messages == 1
        life.leave()
        await router.expect_leaving()


# --- leaving ------------------------------------------------------------------------------------------------------


class Slow:
    """A service that works on what it is asked until it is let go."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.log: list[str] = []

    async def work(self) -> str:
        self.log.append("began")
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.log.append("cancelled")
            raise
        self.log.append("finished")
        return "done"


async def test_leaving_finishes_what_is_at_work_and_refuses_the_rest(autojump_clock: MockClock) -> None:
    service = Slow()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, service)
        await register(nursery, router, instance, {"a": 5})
        await router.send(delivered(1, "work"))
        await wait_all_tasks_blocked()
        life.leave()
        await router.expect_leaving()
        await wait_all_tasks_blocked()
        assert instance.resources == {}
        await router.send(delivered(2, "work"), delivered(None, "work", caller=CALLER))
        refusal = await router.receive()
        assert refusal["id"] == 2
        assert refusal["error"]["code"] == -32000
        assert not life.done.is_set()
        assert client.statistics().calls_serving == 1
        service.go.set()
        assert await router.receive() == {"jsonrpc": "2.0", "id": 1, "result": "done"}
        await life.done.wait()
        assert life.error is None
        await router.send(delivered(3, "work"))
        assert (await router.receive())["error"]["message"] == "This instance has stopped serving"
    assert service.log == ["began", "finished"]


async def test_calls_that_arrive_before_the_router_has_heard_of_the_leaving_are_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        life.leave()
        request = await router.expect("instance.drain")
        await router.send(delivered(1, "m", [1]))
        assert (await router.receive())["result"] == [1]
        await router.answer(request, {"handed_over": 0, "released": 0, "in_flight": 0})
        await life.done.wait()


async def test_an_exception_cancels_what_is_at_work_and_its_callers_are_told(
    autojump_clock: MockClock,
) -> None:
    service = Slow()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        await router.send(delivered(1, "work"), delivered(None, "work", caller=CALLER))
        await wait_all_tasks_blocked()
        life.leave(KeyError("mine"))
        told = [await router.receive() for _ in range(2)]
        [answer] = [message for message in told if "error" in message]
        assert (answer["id"], answer["error"]["code"]) == (1, -32000)
        [leaving] = [message for message in told if message.get("method") == "instance.drain"]
        await router.send(delivered(2, "work"))
        assert (await router.receive())["error"]["code"] == -32000
        await router.send(delivered(3, "work", resource_id="a", epoch=5))
        assert (await router.receive())["error"] == STALE, (
            "the router can tell its caller that it did not run"
        )
        await router.answer(leaving, {})
        await life.done.wait()
        assert isinstance(life.error, KeyError), "as it is, in no group"
        await client_can_still_call(client, router)
    assert service.log == ["began", "began", "cancelled", "cancelled"]


async def client_can_still_call(client: Client, router: ScriptedRouter) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.ping)
        await router.answer(await router.expect("session.ping"), {})


async def test_a_cancelled_instance_still_leaves(autojump_clock: MockClock) -> None:
    service = Slow()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        await router.send(delivered(1, "work"))
        await wait_all_tasks_blocked()
        life.cancel()
        told = {(await router.receive()).get("method", "answer") for _ in range(2)}
        assert told == {"answer", "instance.drain"}
        await trio.sleep(1)
        assert not life.done.is_set()
    assert life.error is None


async def test_an_instance_that_is_cancelled_while_it_comes_leaves_too(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life = Life()
        nursery.start_soon(life.run, client, echo)
        await router.expect("instance.register")
        life.cancel()
        await router.expect("$/cancelRequest")
        await router.expect_leaving()
        await life.done.wait()
        assert life.instance is None


async def test_a_router_that_does_not_confirm_the_leaving_loses_the_session(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        life.leave()
        await router.expect("instance.drain")
        await life.done.wait()
        assert trio.current_time() == pytest.approx(5)
        assert "did not confirm" in (await client.wait_closed()).reason
        await router.ended.wait()
        assert router.close_code == 1000


async def test_a_router_that_refuses_the_leaving_loses_the_session(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        life.leave()
        await router.refuse(await router.expect("instance.drain"), -32603, "internal_error")
        await life.done.wait()
        await router.ended.wait()
        assert client.statistics().calls_in_flight == 0


async def test_with_a_router_that_knows_no_drains_leaving_releases_everything(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 5, "b": 6})
        life.leave()
        await router.refuse(
            await router.expect("instance.drain"), -32601, "method_not_found", method="instance.drain"
        )
        request = await router.expect("resource.release")
        assert request["params"] == {"resource_ids": ["a", "b"], "partial": True}
        await router.answer(request, {"success": True, "released": ["a", "b"], "failed": {}})
        await life.done.wait()
        await client_can_still_call(client, router)


# --- the end of the connection ------------------------------------------------------------------------------------


async def test_a_call_for_a_grant_that_has_ended_is_not_run(autojump_clock: MockClock) -> None:
    ran: list[object] = []

    async def handle(call: Call) -> str:
        ran.append(call.epoch)
        return "ran"

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, handle)
        await register(nursery, router, instance, {"a": 5})

        async def ask(epoch: int) -> Json:
            await router.send(delivered(epoch, "m", resource_id="a", epoch=epoch))
            return await router.receive()

        assert (await ask(5))["result"] == "ran"
        assert (await ask(4))["error"] == STALE, "of an earlier grant"
        await router.send(
            delivered(None, "resource.lost", {"resource_ids": ["a"], "cause": "forced"}),
            delivered(None, "m", resource_id="a", epoch=5, caller=CALLER),
        )
        assert (await ask(5))["error"] == STALE, "it was lost"
        assert instance.resources == {}
        assert (await ask(7))["result"] == "ran", "news of a grant"
        assert (await ask(5))["error"] == STALE
        assert instance.resources == {"a": 7}
        await router.send(delivered(8, "m", resource_id="a"))
        assert (await router.receive())["result"] == "ran", "without an epoch nothing can be said"
        life.leave()
        await router.expect_leaving()
    assert ran == [5, 7, None]


async def test_what_has_arrived_before_a_loss_is_run(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"a": 5})
        await router.send(
            delivered(1, "m", [1], resource_id="a", epoch=5),
            delivered(None, "resource.lost", {"resource_ids": ["a"], "cause": "transfer"}),
        )
        assert (await router.receive())["result"] == [1]
        life.leave()
        await router.expect_leaving()


def test_only_so_many_grants_that_have_ended_are_remembered() -> None:
    owned = Owned()
    for epoch in range(1, MAX_ENDED + 3):
        assert owned.take_epoch(f"r{epoch}", epoch)
        owned.take_lost(Raw(b'{"resource_ids":["r%d"],"cause":"forced"}' % epoch))
    assert owned.take_epoch("r1", 1), "forgotten"
    assert not owned.take_epoch("r3", 3)
    assert not owned.take_epoch(f"r{MAX_ENDED}", MAX_ENDED)
    owned.clear("session_ended")
    assert not owned.take_epoch("r3", 3)
    assert owned.epochs == {}


async def test_the_end_of_the_connection_takes_everything_and_leaves_the_block_running(
    autojump_clock: MockClock,
) -> None:
    service = Slow()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, service)
        await register(nursery, router, instance, {"a": 5})
        await router.send(delivered(1, "work"), delivered(None, "work", caller=CALLER))
        await wait_all_tasks_blocked()
        await router.cut()
        await client.wait_closed()
        await wait_all_tasks_blocked()
        assert instance.resources == {}
        assert client.statistics().calls_serving == 0
        assert service.log == ["began", "began", "cancelled", "cancelled"]
        assert not life.done.is_set()
        with pytest.raises(resroute.ConnectionLost):
            await instance.register("a")
        life.leave()
        await life.done.wait()
        assert life.error is None


async def test_a_connection_that_ends_while_the_instance_leaves_is_no_error(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router)
        life.leave()
        await router.expect("instance.drain")
        await router.cut()
        await life.done.wait()
        assert life.error is None


async def test_a_session_that_is_no_instance_refuses_calls(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.send(delivered(1, "m"), delivered(None, "m"), delivered("a", "m"))
        assert [(await router.receive())["error"]["code"] for _ in range(2)] == [-32601, -32601]
        await client_can_still_call(client, router)
