"""Over sockets, with the SDK: blocks that own a resource exclude each other, hear of losses, and leave nothing behind."""

import signal

import trio

from resroute import Call, Grant, ResourceLost, open_client
from tests.processes.running import Serving, open_router

WORKERS = 6
ROUNDS = 5
WAIT_SECONDS = 60
SOON_SECONDS = 3.0
"""Generous: what takes milliseconds on a quiet machine may not take this long on a busy one."""


def answer(call: Call) -> object:
    return call.params


async def test_of_all_blocks_for_one_resource_one_runs_at_a_time() -> None:
    inside: list[Grant] = []
    epochs: list[int] = []

    async def work(router: Serving) -> None:
        async with open_client(router.url) as client, client.open_instance("service", answer) as instance:
            for _ in range(ROUNDS):
                async with instance.own("job:1", wait_seconds=WAIT_SECONDS) as grant:
                    inside.append(grant)
                    await trio.sleep(0.002)
                    assert inside == [grant]
                    inside.remove(grant)
                    epochs.append(grant.epoch)

    async with open_router() as router:
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(work, router)
        assert len(epochs) == WORKERS * ROUNDS
        assert epochs == sorted(set(epochs)), "each is above the one before"
        await router.wait_baseline()


async def test_a_killed_owner_is_followed_by_the_block_that_waits() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", "job:1") as owner,
            open_client(router.url) as client,
            client.open_instance("service", answer) as instance,
            trio.open_nursery() as nursery,
        ):
            began = trio.Event()
            epochs: list[int] = []

            async def work() -> None:
                async with instance.own("job:1", wait_seconds=WAIT_SECONDS) as grant:
                    epochs.append(grant.epoch)
                    began.set()

            [held] = (await client.query_resources(resource_ids=["job:1"])).resources
            nursery.start_soon(work)
            while (await client.explain(resource_id="job:1")).waiters == 0:
                pass
            owner.kill()
            with trio.fail_after(SOON_SECONDS):
                await began.wait()
            assert epochs[0] > held.epoch
        await router.wait_baseline()


async def test_a_block_is_cancelled_when_its_router_dies() -> None:
    async with open_router() as router:
        lost: list[str] = []
        async with open_client(router.url) as client, client.open_instance("service", answer) as instance:
            try:
                async with instance.own("job:1"):
                    router.program.send_signal(signal.SIGKILL)
                    await trio.sleep_forever()
            except ResourceLost as error:
                lost.append(error.cause)
        assert lost == ["session_ended"]
