import trio

from resroute import Unavailable, open_client

URL = "ws://127.0.0.1:8765/"


class Printer:
    async def print_page(self) -> str:
        await trio.sleep(0.5)
        return "printed"


async def serve_late() -> None:
    await trio.sleep(0.5)
    async with open_client(URL) as client, client.open_instance("printers", Printer()) as instance:
        await instance.register("printer:1")
        await trio.sleep(3)


async def main() -> None:
    async with trio.open_nursery() as nursery, open_client(URL) as client:
        nursery.start_soon(serve_late)
        with trio.fail_after(20):
            try:
                # waits for an owner; made again where it has not run, and not where it may have
                answer = await client.call("print_page", resource_id="printer:1", wait_for_owner_seconds=10)
            except Unavailable as error:
                print("not now:", error.reason)
            else:
                print(answer)


trio.run(main)
