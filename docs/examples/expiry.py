import trio

from resroute import ResourceNotFound, open_client

URL = "ws://127.0.0.1:8765/"


class Seats:
    def holder(self) -> str:
        return "Ada"


async def main() -> None:
    async with open_client(URL) as client, client.open_instance("seats", Seats()) as instance:
        await instance.register("seat:12", metadata={"seat:12": {"ttl_seconds": 0.5}})
        for _ in range(3):
            await trio.sleep(0.3)
            await instance.renew("seat:12")
        print("still held by", await client.call("holder", resource_id="seat:12"))

        async with instance.open_changes() as changes:
            lost = await anext(changes)
        print(lost.resource_id, lost.cause)
        try:
            await client.call("holder", resource_id="seat:12")
        except ResourceNotFound as error:
            print(error)


trio.run(main)
