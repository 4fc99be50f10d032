import attrs
import trio

import resroute

URL = "ws://127.0.0.1:8765/"


@attrs.frozen
class Item:
    name: str
    count: int = 1


service = resroute.Service()
carts: dict[str, list[Item]] = {}


@service.fenced
async def put(call: resroute.OwnedCall, items: list[Item]) -> list[Item]:
    carts.setdefault(call.resource_id, []).extend(items)
    return carts[call.resource_id]


async def main() -> None:
    async with (
        resroute.open_client(URL) as client,
        client.open_instance("carts", service) as instance,
    ):
        await instance.register("cart:1")
        print(await client.call("put", {"items": [{"name": "tea"}]}, resource_id="cart:1"))
        try:
            await client.call("put", {"items": [{"name": "tea", "count": "2"}]}, resource_id="cart:1")
        except resroute.RemoteError as error:
            print(error.code, *error.data["errors"])


trio.run(main)
