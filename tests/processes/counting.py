"""A program that tests kill: an end of a stream on the SDK, either one.

``python -m tests.processes.counting WISHES``, a JSON object. As ``owner`` it owns a resource and counts without an end for
whoever asks; as ``reader`` it asks, and tells what it reads. It ends with its standard input.
"""

import json
import sys
from collections.abc import AsyncGenerator
from itertools import count

import trio

from resroute import Client, open_client
from tests.processes.owner import end_with_stdin, tell

RESOURCE_ID = "counter:1"
LENGTH = 1000


class Counter:
    """Counts slowly enough for its readers to keep up on a busy machine.

    Attributes:
        closed: how many generators have been closed.
        changed: set when that has changed.
    """

    def __init__(self) -> None:
        self.closed = 0
        self.changed = trio.Event()

    async def count(self) -> AsyncGenerator[tuple[int, str]]:
        """Numbers, and something to carry along."""
        try:
            for number in count():
                yield number, "x" * LENGTH
                await trio.sleep(0.001)
        finally:
            self.closed += 1
            self.changed.set()


async def own(client: Client) -> None:
    """Own the counter until the connection ends."""
    async with client.open_instance("counters", Counter(), instance_id="counter-1") as instance:
        await instance.register(RESOURCE_ID)
        tell(ready=instance.instance_id)
        await client.wait_closed()


async def read(client: Client) -> None:
    """Read what it counts, and tell that it does."""
    async with client.open_stream("count", resource_id=RESOURCE_ID) as chunks:
        async for number, _ in chunks:
            if number == 10:
                tell(ready=number)


async def main(url: str, role: str) -> None:
    """Be one end of the stream."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        async with open_client(url) as client:
            await {"owner": own, "reader": read}[role](client)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
