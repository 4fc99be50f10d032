import trio

from resroute import ResourceConflict, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def read(self) -> str:
        return "text"


async def main() -> None:
    async with open_client(URL) as one, open_client(URL) as two:
        async with two.open_instance("documents", Documents(), instance_id="documents-2") as second:
            async with one.open_instance("documents", Documents(), instance_id="documents-1") as first:
                await first.register("doc:1")
                try:
                    await second.register("doc:1", "doc:2")  # all of them or none
                except ResourceConflict as error:
                    print(error)
                registered = await second.register("doc:1", "doc:2", partial=True)  # what nobody else owns
                print("got", *registered.registered, "- not", dict(registered.conflicts))
            await second.register("doc:1")  # the first has left, so it is free
            print("owns", *second.resources)


trio.run(main)
