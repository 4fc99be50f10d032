import trio

import resroute

URL = "ws://127.0.0.1:8765/"

service = resroute.Service()


@service.method
async def read(call: resroute.Call, page: int = 1) -> str:
    return f"page {page} of {call.resource_id}"


async def report(changes: resroute.Changes) -> None:
    async for change in changes:
        match change:
            case resroute.Disconnected():
                print("nothing is owned now")
            case resroute.Regained():
                print("owned again:", change.resource_id)
            case resroute.Lost():
                print("lost:", change.resource_id, "to", change.new_owner)


async def main() -> None:
    async with (
        resroute.open_client([URL]) as client,
        client.open_instance("documents", service) as instance,
        instance.open_changes() as changes,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(report, changes)
        await instance.register("doc:1")
        with trio.fail_after(10):
            print(await client.call("read", {"page": 2}, resource_id="doc:1", idempotent=True))
        print(client.state)
        nursery.cancel_scope.cancel()


trio.run(main)
