"""A program that tests kill: a caller that waits for answers.

``python -m tests.processes.caller WISHES``, a JSON object. It ends with its standard input.
"""

import json
import sys

import trio

from tests.processes.independent import open_session
from tests.processes.owner import end_with_stdin, note, tell


async def main(url: str, resource_id: str, count: int, method: str = "hold") -> None:
    """Make so many calls, and wait."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        async with open_session(url, note) as session:
            for _ in range(count):
                await session.start_call(method, resource_id=resource_id)
            await session.ask("session.ping")  # the router has taken them all
            tell(ready=count)
            await session.closed.wait()
            tell(closed=session.close_code)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
