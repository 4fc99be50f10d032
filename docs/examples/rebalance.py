import trio

from resroute import Client, open_client

URL = "ws://127.0.0.1:8765/"


async def show(client: Client) -> None:
    page = await client.query_instances(service_name="documents")
    print({info.instance_id: info.resources for info in page.instances})


async def main() -> None:
    async with (
        open_client(URL) as client,
        open_client(URL) as another,
        client.open_instance("documents", lambda call: "old", instance_id="old") as old,
    ):
        await old.register(*(f"doc:{number}" for number in range(100)))
        async with another.open_instance("documents", lambda call: "new", instance_id="new"):
            await show(client)
            planned = await client.rebalance_service("documents", dry_run=True)
            print(len(planned.moves), "would be moved")
            await client.rebalance_service("documents", max_moves=10)
            await show(client)
            await client.rebalance_service("documents")
            await show(client)


trio.run(main)
