import trio

from resroute import RemoteError, open_client

URL = "ws://127.0.0.1:8765/"


async def main() -> None:
    async with open_client(URL) as client:
        params = {"text": "Once upon a time"}
        print(await client.call("append", params, resource_id="doc:1"), "line")
        print(await client.call("read", resource_id="doc:1"))
        print(await client.call("read", resource_id="doc:2"))
        try:
            await client.call("print", resource_id="doc:1")
        except RemoteError as error:  # the owner's own word, not the router's
            print(error)


trio.run(main)
