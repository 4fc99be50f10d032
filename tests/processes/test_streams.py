"""The SDK's streams over real sockets, when the process at either end is killed."""

import pytest

from resroute import OwnerDisconnected, open_client
from tests.processes.counting import LENGTH, RESOURCE_ID, Counter
from tests.processes.running import open_router, start_peer


async def test_a_killed_owner_ends_the_stream_after_what_it_had_sent() -> None:
    async with (
        open_router() as router,
        start_peer("counting", url=router.url, role="owner") as owner,
        open_client(router.url) as client,
    ):
        await owner.wait_event("ready")
        numbers: list[int] = []
        async with client.open_stream("count", resource_id=RESOURCE_ID) as chunks:
            with pytest.raises(OwnerDisconnected) as caught:
                async for number, text in chunks:
                    assert len(text) == LENGTH
                    numbers.append(number)
                    if number == 100:
                        owner.kill()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 100
        assert caught.value.delivery == "unknown"


async def test_a_killed_reader_has_the_owners_generator_closed() -> None:
    counter = Counter()
    async with (
        open_router() as router,
        open_client(router.url) as client,
        client.open_instance("counters", counter) as instance,
    ):
        await instance.register(RESOURCE_ID)
        async with start_peer("counting", url=router.url, role="reader") as reader:
            await reader.wait_event("ready")
            reader.kill()
            await counter.changed.wait()
        await router.wait_metrics(lambda metrics: metrics["calls_in_flight"] == 0)
        assert counter.closed == 1
        assert client.statistics().calls_serving == 0
