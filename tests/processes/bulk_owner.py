"""Registers very many resources in bulk, and says how far that is.

python -m tests.processes.bulk_owner URL COUNT
"""

import sys

import trio

from resroute import open_client


async def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    async with (
        open_client(url) as client,
        client.open_instance("store", lambda _: None, instance_id="bulk-owner") as instance,
    ):
        ids = [f"row:{number}" for number in range(count)]
        result = await instance.bulk_register(
            ids, on_progress=lambda progress: print(progress.done, flush=True)
        )
        print("complete" if result.complete else "failed", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
