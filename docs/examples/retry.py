import random

import trio

from resroute import CallError, Client, ResourceNotFound, open_client

URL = "ws://127.0.0.1:8765/"


async def call_owner(client: Client, method: str, resource_id: str) -> object:
    """Call, and call again as long as that is safe and makes sense."""
    pause = 1.0
    while True:
        try:
            return await client.call(method, resource_id=resource_id)
        except ResourceNotFound:
            print("nobody owns it")  # yet
        except CallError as error:
            if error.delivery != "not_delivered":
                raise  # it may have run: does running it twice do harm?
        await trio.sleep(random.uniform(pause / 2, pause))
        pause = min(2 * pause, 10.0)


class Documents:
    def read(self) -> str:
        return "text"


async def serve_late() -> None:
    await trio.sleep(0.02)
    async with open_client(URL) as client, client.open_instance("documents", Documents()) as instance:
        await instance.register("doc:1")
        await trio.sleep(2)


async def main() -> None:
    async with trio.open_nursery() as nursery, open_client(URL) as client:
        nursery.start_soon(serve_late)
        with trio.fail_after(20):
            print(await call_owner(client, "read", "doc:1"))


trio.run(main)
