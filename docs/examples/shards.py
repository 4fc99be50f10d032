import trio

from resroute import Acquired, OwnedCall, Service, open_client

URL = "ws://127.0.0.1:8765/"

SHARDS = [f"visits:{number}" for number in range(6)]


class Store:
    """Stands for a database that looks at epochs: it has of each shard its count, and who wrote last."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, int]] = {}

    def read(self, shard: str) -> int:
        return self._rows.get(shard, (0, 0))[1]

    def write(self, shard: str, epoch: int, count: int) -> None:
        if epoch < self._rows.get(shard, (0, 0))[0]:
            raise ValueError("a later owner has written already")
        self._rows[shard] = epoch, count


def counter(store: Store) -> Service:
    """One instance: it has the counts of its own shards in memory, and writes each change."""
    service = Service()
    counts: dict[str, int] = {}

    @service.after_acquire
    def load(acquired: Acquired) -> None:
        counts[acquired.resource_id] = store.read(acquired.resource_id)

    @service.fenced
    def add(call: OwnedCall, amount: int) -> int:
        count = counts[call.resource_id] + amount
        store.write(call.resource_id, call.epoch, count)
        counts[call.resource_id] = count
        return count

    return service


async def main() -> None:
    store = Store()
    async with (
        open_client(URL) as one,
        open_client(URL) as two,
        open_client(URL) as caller,
        one.open_instance("counters", counter(store), instance_id="one") as first,
    ):
        await first.register(*SHARDS)

        async def visit(times: int) -> None:
            for number in range(times):
                await caller.call("add", {"amount": 1}, resource_id=SHARDS[number % len(SHARDS)])

        await visit(60)
        async with two.open_instance("counters", counter(store), instance_id="two") as second:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(visit, 60)  # nobody who counts notices
                await caller.rebalance_service("counters")
            print("one has", len(first.resources), "shards, two has", len(second.resources))
        print(sum(store.read(shard) for shard in SHARDS), "visits")


trio.run(main)
