"""A program with very many instances, each a client of its own, that outlive their router.

``python -m tests.processes.crowd WISHES``, a JSON object. It tells when all of them own all they should, for the first time
and each time after their connections have ended; and ends with its standard input.
"""

import json
import sys

import trio

from resroute import Disconnected, Lost, Regained, open_client
from tests.processes.owner import end_with_stdin, tell

AT_A_TIME = 50
"""How many come at a time in the beginning. After an end all come at once."""


def answer(call: object) -> int:
    return 7


class Crowd:
    """Counts what all of them have."""

    def __init__(self, url: str, instances: int, each: int) -> None:
        self._url = url
        self._each = each
        self._total = instances * each
        self._owned = 0
        self._coming = trio.CapacityLimiter(AT_A_TIME)

    async def be_one(self, number: int) -> None:
        """Be an instance until the end."""
        names = [f"crowd:{number}:{item}" for item in range(self._each)]
        await self._coming.acquire_on_behalf_of(number)
        async with (
            open_client(self._url) as client,
            client.open_instance("crowd", answer) as instance,
            instance.open_changes() as changes,
        ):
            await instance.register(*names)
            self._coming.release_on_behalf_of(number)
            owned = self._each
            self._count(owned)
            async for change in changes:
                match change:
                    case Disconnected():  # and maybe once more before all is there again
                        self._count(-owned)
                        owned = 0
                    case Regained():
                        owned += 1
                        self._count(1)
                    case Lost():
                        tell(lost=change.resource_id)

    def _count(self, more: int) -> None:
        self._owned += more
        if self._owned == self._total:
            tell(complete=self._owned)


async def main(url: str, instances: int, each: int) -> None:
    """Have them all own what they should until the end."""
    crowd = Crowd(url, instances, each)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        for number in range(instances):
            nursery.start_soon(crowd.be_one, number)


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
