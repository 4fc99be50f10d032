import time

import trio

from resroute import ResourceConflict, ResourceLost, open_client

URL = "ws://127.0.0.1:8765/"


class Reports:
    def last(self) -> str:
        return "none yet"


async def main() -> None:
    async with (
        open_client(URL) as ours,
        open_client(URL) as theirs,
        ours.open_instance("reports", Reports(), instance_id="reports-1") as one,
        theirs.open_instance("reports", Reports(), instance_id="reports-2") as two,
    ):
        async with one.own("report:today"):
            print("one writes the report, alone")
            try:
                async with two.own("report:today"):
                    print("never printed")
            except ResourceConflict as error:
                print(error)

        try:
            async with two.own("report:today", metadata={"ttl_seconds": 0.5}) as grant:
                await trio.sleep(1)  # it is renewed all the time
                print("two still has it:", grant.lost is None)
                time.sleep(1)  # noqa: ASYNC251  # this hangs: nothing is renewed now
                await trio.sleep(60)  # cancelled, for it has expired meanwhile
        except ResourceLost as error:
            print(error)


trio.run(main)
