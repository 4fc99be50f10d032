import trio

import resroute


async def read(call: resroute.Call) -> str:
    return f"line {call.params['line']} of {call.resource_id}"


async def main() -> None:
    async with resroute.open_client("ws://127.0.0.1:8765/") as client:
        async with client.open_instance("documents", read) as instance:
            await instance.register("doc:1")
            print(await client.call("read", {"line": 3}, resource_id="doc:1"))


trio.run(main)
