"""A program that tests tell to stop: an instance of the SDK that counts for each of its resources.

``python -m tests.processes.replica WISHES``, a JSON object. A count goes with its resource when that changes hands. It tells
when it is ready, and after it was told to stop what it handed over and which calls it has run. It ends with its standard
input, too.
"""

import json
import sys
from collections.abc import Sequence

import trio

from resroute import Acquired, Releasing, Service, current_call, open_client
from tests.processes.owner import end_with_stdin, tell


class Counts:
    """What is counted, and the idempotency key of each call that was run."""

    def __init__(self) -> None:
        self.by_resource: dict[str, int] = {}
        self.ran: list[str | None] = []

    def add(self) -> int:
        """Count one."""
        call = current_call()
        assert call.resource_id is not None
        self.ran.append(call.idempotency_key)
        self.by_resource[call.resource_id] += 1
        return self.by_resource[call.resource_id]

    async def linger(self, seconds: float) -> int:
        """Count one after a while."""
        tell(lingers=current_call().resource_id)
        await trio.sleep(seconds)
        return self.add()


def counting(counts: Counts) -> Service:
    """A service whose counts travel."""
    service = Service(counts)

    @service.before_release
    def save(releasing: Releasing) -> int:
        return counts.by_resource.pop(releasing.resource_id)

    @service.after_acquire
    def load(acquired: Acquired) -> None:
        counts.by_resource[acquired.resource_id] = acquired.state or 0

    return service


async def main(
    url: str, instance_id: str, resource_ids: Sequence[str] = (), drain_seconds: float = 25.0
) -> None:
    """Serve until told to stop."""
    counts = Counts()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_stdin, nursery.cancel_scope)
        async with (
            open_client(url) as client,
            client.open_instance("counters", counting(counts), instance_id=instance_id) as instance,
        ):
            registered = await instance.bulk_register(resource_ids)
            assert registered.complete
            tell(ready=instance_id)
            stopped = await instance.serve_until_stopped(drain_seconds=drain_seconds)
        tell(
            handed_over=stopped.handed_over,
            released=stopped.released,
            cut_off=stopped.in_flight,
            ran=counts.ran,
        )
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    trio.run(lambda: main(**wishes))
