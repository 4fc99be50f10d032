import trio

from resroute import Call, RemoteError, open_client

URL = "ws://127.0.0.1:8765/"


async def answer(call: Call) -> object:
    """Gets every call as it is: any method, any params."""
    if call.method != "locate":
        raise RemoteError(-32601, f"No method {call.method}", {"known": ["locate"]})
    return {"resource_id": call.resource_id, "caller": call.caller.subject, "params": call.params}


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", answer) as instance:
            await instance.register("doc:1")
            print(await theirs.call("locate", [1, 2], resource_id="doc:1"))
            try:
                await theirs.call("remove", resource_id="doc:1")
            except RemoteError as error:
                print(error, error.data)


trio.run(main)
