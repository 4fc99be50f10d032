"""A program that tests kill: some instances, each of which owns very many resources.

``python -m tests.processes.many WISHES``, a JSON object. It tells when it owns them all, and ends with its standard input.
"""

import json
import sys
from contextlib import AsyncExitStack

import trio

from resroute import open_client
from tests.processes.owner import end_with_stdin, tell

AT_A_TIME = 500


def answer(_call: object) -> None:
    """Nobody calls."""


async def main(url: str, instances: int, each: int) -> None:
    """Own them until the end."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        for number in range(instances):
            client = await stack.enter_async_context(open_client(url))
            instance = await stack.enter_async_context(client.open_instance("many", answer))
            names = [f"many:{number}:{item}" for item in range(each)]
            for start in range(0, each, AT_A_TIME):
                await instance.register(*names[start : start + AT_A_TIME])
        tell(ready=instances * each)
        await trio.sleep_forever()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
