"""A program: some instances with many resources, for as long as somebody keeps its stdin open."""

import sys

import trio

from resroute import BulkResource, Client, open_client

RESOURCES = 10_000
RARE = 7_777
_AT_A_TIME = 5000


class Rooms:
    """What they answer."""

    def greet(self, name: str = "you") -> str:
        return f"Hello {name}"


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
                await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()


async def call_now_and_then(client: Client) -> None:
    """So that charts have something to show."""
    number = 0
    while True:
        number = (number + 37) % 400
        await client.call("greet", resource_id=f"room:{number:05}")
        await trio.sleep(0.02)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
