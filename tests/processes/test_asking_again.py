"""What a router refuses for now is asked again when it says, over real sockets."""

import trio

from resroute import Call, open_client
from tests.fuzz.talking import call
from tests.processes.hostile import shake_hands
from tests.processes.running import open_router


async def test_more_calls_than_a_session_may_have_come_through_one_after_the_other() -> None:
    numbers: set[int] = set()

    async def answer(call: Call) -> int:
        await trio.sleep(0.05)
        number = call.params["number"]
        assert isinstance(number, int)
        return number

    with trio.fail_after(30):
        async with (
            open_router(max_calls_in_flight=4) as router,
            open_client(router.url) as ours,
            open_client(router.url) as theirs,
            ours.open_instance("counters", answer) as instance,
            trio.open_nursery() as nursery,
        ):
            await instance.register("counter:1")

            async def ask(number: int) -> None:
                numbers.add(await theirs.call("count", {"number": number}, resource_id="counter:1"))

            for number in range(20):
                nursery.start_soon(ask, number)
    assert numbers == set(range(20))


async def test_a_refusal_says_when_to_ask_again() -> None:
    async with open_router(max_calls_in_flight=1) as router:
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="s")
            await owner.ask("resource.register", resource_ids=["r"])
            await caller.say(call(1, "r", timeout_seconds=5), call(2, "r"))
            [refused] = await caller.hear()
            assert (refused["id"], refused["error"]["data"]["type"]) == (2, "too_many_calls")
            assert 0 < refused["error"]["data"]["retry_after_seconds"] <= 1
