import sys

import trio

from resroute import Acquired, Releasing, Service, current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Counters:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self) -> int:
        resource_id = current_call().resource_id
        assert resource_id is not None
        self.counts[resource_id] += 1
        return self.counts[resource_id]


async def main(instance_id: str, *resource_ids: str) -> None:
    counters = Counters()
    service = Service(counters)

    @service.before_release
    def save(releasing: Releasing) -> int:
        return counters.counts.pop(releasing.resource_id)

    @service.after_acquire
    def load(acquired: Acquired) -> None:
        counters.counts[acquired.resource_id] = acquired.state or 0

    async with open_client(URL) as client:
        async with client.open_instance("counters", service, instance_id=instance_id) as instance:
            await instance.bulk_register(resource_ids)
            print(f"{instance_id} serves {len(instance.resources)}", flush=True)
            stopped = await instance.serve_until_stopped()
    print(f"{instance_id} handed over {stopped.handed_over}, cut off {stopped.in_flight}")


trio.run(main, *sys.argv[1:])
