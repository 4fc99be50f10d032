"""A program: some instances with many resources, for as long as somebody keeps its stdin open."""

import sys
from contextlib import suppress

import trio

from resroute import BulkResource, Client, ResrouteError, open_client

RESOURCES = 10_000
RARE = 7_777
_AT_A_TIME = 5000


class Rooms:
    """What they answer."""

    def greet(self, name: str = "you") -> str:
        return f"Hello {name}"

    async def tidy(self, seconds: float = 20) -> str:
        """Something that takes its time."""
        await trio.sleep(seconds)
        return "tidy"


def room(number: int) -> BulkResource:
    """One resource, and what it says of itself."""
    tags = ["rare"] if number == RARE else [f"floor-{number % 12}", "garden" if number % 5 else "street"]
    return BulkResource(
        resource_id=f"room:{number:05}",
        metadata={"resource_type": "room", "tags": tags, "attributes": {"seats": number % 40}},
    )


async def main(url: str) -> None:
    async with open_client(url) as ours, open_client(url) as theirs:
        async with (
            ours.open_instance("rooms", Rooms(), instance_id="ada", metadata={"host": "a.example"}) as ada,
            theirs.open_instance("rooms", Rooms(), instance_id="bob", metadata={"host": "b.example"}),
        ):
            for first in range(0, RESOURCES, _AT_A_TIME):
                rooms = [room(number) for number in range(first, first + _AT_A_TIME)]
                done = await ada.bulk_register(rooms, batch_size=1000)
                assert done.total_registered == len(rooms), done.failed[0]
            print("ready", flush=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call_now_and_then, theirs)
                for number in (RARE, 4, 12):
                    nursery.start_soon(tidy_again_and_again, ours, number)
                await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()


async def call_now_and_then(client: Client) -> None:
    """So that charts have something to show."""
    number = 0
    while True:
        number = (number + 37) % 400
        await client.call("greet", resource_id=f"room:{number:05}")
        await trio.sleep(0.02)


async def tidy_again_and_again(client: Client, number: int) -> None:
    """So that there are calls in flight."""
    while True:
        with suppress(ResrouteError):
            await client.call("tidy", resource_id=f"room:{number:05}")
        await trio.sleep(0.1)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
