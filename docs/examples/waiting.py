import trio

from resroute import Instance, open_client

URL = "ws://127.0.0.1:8765/"


class Printer:
    def status(self) -> str:
        return "printing"


async def print_something(who: Instance) -> None:
    await who.register("printer:1", "tray:1", wait_seconds=5)
    print(f"{who.instance_id} has its turn")
    await trio.sleep(0.5)
    await who.release("printer:1", "tray:1")


async def main() -> None:
    async with (
        open_client(URL) as one,
        open_client(URL) as two,
        one.open_instance("printing", Printer(), instance_id="letters") as letters,
        two.open_instance("printing", Printer(), instance_id="reports") as reports,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(print_something, letters)
            await trio.sleep(0.2)
            nursery.start_soon(print_something, reports)
            await trio.sleep(0.2)
            print("waiting:", (await one.explain(resource_id="printer:1")).waiters)

        await letters.register("printer:1")
        with trio.move_on_after(0.2) as patience:
            await print_something(reports)
        print("reports has given up:", patience.cancelled_caught)
        await letters.release("printer:1")
        print("owned:", (await one.query_resources()).total_count)


trio.run(main)
