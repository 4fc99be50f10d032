import trio

from resroute import Acquired, current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Counter:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self) -> int:
        resource_id = current_call().resource_id
        assert resource_id is not None
        self.counts[resource_id] = self.counts.get(resource_id, 0) + 1
        return self.counts[resource_id]


async def main() -> None:
    old, new = Counter(), Counter()
    async with (
        open_client(URL) as client,
        open_client(URL) as other,
        client.open_instance("counters", old, instance_id="old") as giver,
        other.open_instance("counters", new, instance_id="new") as heir,
        heir.open_changes() as changes,
    ):
        await giver.register("visits")
        print("old counts:", await client.call("add", resource_id="visits"))
        print("old counts:", await client.call("add", resource_id="visits"))

        state = {"visits": old.counts.pop("visits")}
        await giver.transfer("visits", to="new", reason="less to do", state=state)

        change = await anext(changes)
        assert isinstance(change, Acquired)
        new.counts[change.resource_id] = change.state
        print("new counts:", await client.call("add", resource_id="visits"))


trio.run(main)
