"""Several clients in one process have nothing to do with each other but by the router."""

from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, Client, Service, current_call
from tests.client.networks import open_network
from tests.client.test_calls import start_call


async def test_calls_back_and_forth_have_one_time_and_are_told_apart(autojump_clock: MockClock) -> None:
    """Each handler calls the other client's instance through its own client, many times over at once."""
    seen: list[str] = []

    def countdown(client: Client, name: str, other: str) -> Service:
        service = Service()

        @service.method
        async def count(call: Call, left: int, who: str) -> list[str]:
            await trio.sleep(0.01)
            assert current_call() is call
            assert call.timeout_seconds is not None
            seen.append(who)
            if not left:
                return [name]
            further = await client.call("count", [left - 1, who], resource_id=other)
            assert current_call() is call
            return [name, *further]

        return service

    async with open_network() as network, network.open_client() as one, network.open_client() as two:
        async with (
            one.open_instance("s", countdown(one, "one", "r:2")) as first,
            two.open_instance("s", countdown(two, "two", "r:1")) as second,
        ):
            await first.register("r:1")
            await second.register("r:2")
            async with trio.open_nursery() as nursery:
                results = [
                    start_call(nursery, partial(one.call, "count", [5, who], resource_id="r:1"), 10)
                    for who in ("a", "b", "c")
                ]
            assert [result.value for result in results] == [["one", "two"] * 3] * 3
            assert sorted(seen) == sorted("abc" * 6)


async def test_calls_in_a_circle_end_with_the_time_of_the_first(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as one, network.open_client() as two:

        def forever(client: Client, other: str) -> object:
            async def handle(call: Call) -> object:
                await trio.sleep(0.1)
                return await client.call("m", resource_id=other)

            return handle

        async with (
            one.open_instance("s", forever(one, "r:2")) as first,
            two.open_instance("s", forever(two, "r:1")) as second,
        ):
            await first.register("r:1")
            await second.register("r:2")
            with pytest.raises(trio.TooSlowError), trio.fail_after(3):
                await one.call("m", resource_id="r:1")
            assert trio.current_time() == 3
            await trio.sleep(1)
            for client in (one, two):
                assert client.statistics().calls_serving == client.statistics().calls_in_flight == 0


async def test_one_service_can_be_served_by_several(autojump_clock: MockClock) -> None:
    service = Service()
    loaded: list[tuple[str, int]] = []

    @service.after_acquire
    def load(acquired: resroute.Acquired) -> None:
        loaded.append((acquired.resource_id, acquired.epoch))

    @service.fenced
    async def who(call: Call) -> tuple[str | None, bool]:
        return call.resource_id, call.is_current

    async with open_network() as network, network.open_client() as one, network.open_client() as two:
        async with one.open_instance("s", service) as first, two.open_instance("s", service) as second:
            await first.register("r:1")
            await second.register("r:2")
            await first.transfer("r:1", to=second.instance_id, reason="test")
            for name in ("r:1", "r:2"):
                assert await one.call("who", resource_id=name) == [name, True]
            assert [name for name, _ in loaded] == ["r:1", "r:2", "r:1"]
            assert dict(loaded) == second.resources
            assert not first.resources


async def test_the_name_of_an_instance_is_one_of_theirs(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as one, network.open_client() as two:
        async with one.open_instance("s", print, instance_id="name") as first:
            await first.register("r")
            with pytest.raises(resroute.InstanceConflict):
                async with two.open_instance("s", print, instance_id="name"):
                    pass
            with pytest.raises(resroute.AlreadyRegistered):
                async with one.open_instance("s", print):
                    pass
            # who was refused may try again, and with the token takes the place of the other
            async with two.open_instance(
                "s", print, instance_id="name", resume_token=first.resume_token
            ) as second:
                assert list(second.resources) == ["r"]
                assert isinstance(await one.wait_closed(), resroute.SessionReplaced)
                assert not first.resources
                for asking in (one.ping, lambda: first.register("r"), lambda: first.release("r")):
                    with pytest.raises(resroute.SessionReplaced):
                        await asking()
                assert (await first.drain()).handed_over == 0
                assert list(second.resources) == ["r"]


async def test_one_that_is_closed_takes_nothing_from_the_other(autojump_clock: MockClock) -> None:
    """Its calls at work included: a handler of the other makes one of them."""
    async with open_network() as network, network.open_client() as caller, network.open_client() as two:
        async with trio.open_nursery() as nursery:
            async with network.open_client() as one:

                async def relay(call: Call) -> object:
                    return await one.call("slow", service_name="slow")

                async def slow(call: Call) -> str:
                    await trio.sleep(20)
                    return "done"

                nursery.start_soon(serve, two, "slow", slow)
                nursery.start_soon(serve, caller, "relay", relay)
                await wait_all_tasks_blocked()
                relayed = start_call(nursery, lambda: two.call("m", service_name="relay"))
                plain = start_call(nursery, lambda: caller.call("m", service_name="slow"))
                await trio.sleep(1)
            await wait_all_tasks_blocked()
            assert isinstance(relayed.error, resroute.RemoteError), "the relay's connection, not the caller's"
            for late in (one.ping, one.info):
                with pytest.raises(resroute.ConnectionLost, match="this client was closed"):
                    await late()
            assert one.state == "closed"
            assert (two.state, caller.state) == ("connected", "connected")
            await trio.sleep(20)
            assert plain.value == "done"
            nursery.cancel_scope.cancel()


async def serve(client: Client, name: str, handler: object) -> None:
    async with client.open_instance(name, handler):
        await trio.sleep_forever()
