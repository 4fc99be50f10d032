import time

import trio

from resroute import Instance, ResourceLost, open_client

URL = "ws://127.0.0.1:8765/"


class Reports:
    def last(self) -> str:
        return "none yet"


async def write(instance: Instance, name: str) -> None:
    async with instance.own("report:today", wait_seconds=60):
        print(name, "writes the report, alone")
        await trio.sleep(0.2)


async def main() -> None:
    async with (
        open_client(URL) as ours,
        open_client(URL) as theirs,
        ours.open_instance("reports", Reports(), instance_id="reports-1") as one,
        theirs.open_instance("reports", Reports(), instance_id="reports-2") as two,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, one, "one")
            await trio.sleep(0.1)
            nursery.start_soon(write, two, "two")  # waits in line until one is done

        try:
            async with two.own("report:today", metadata={"ttl_seconds": 0.5}) as grant:
                await trio.sleep(1)  # it is renewed all the time
                print("two still has it:", grant.lost is None)
                time.sleep(1)  # noqa: ASYNC251  # this hangs: nothing is renewed now
                await trio.sleep(60)  # cancelled, for it has expired meanwhile
        except ResourceLost as error:
            print(error)


trio.run(main)
