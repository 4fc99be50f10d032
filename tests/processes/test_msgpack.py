"""MessagePack over real connections."""

import ormsgpack
import trio

from tests.fuzz import said
from tests.processes.hostile import open_bystanders, shake_hands
from tests.processes.running import open_router

PACKED = "resroute.v1.msgpack"


async def test_a_call_between_encodings_over_sockets() -> None:
    async with open_router() as router, open_bystanders(router):
        async with shake_hands(router, PACKED) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="packed", instance_id="packed-1")
            await owner.ask("resource.register", resource_ids=["packed:1"])
            payload = {"large": ["ł" * 100_000, 0.5, 2**63], "empty": {}}
            async with trio.open_nursery() as nursery:

                async def answer() -> None:
                    [request] = await owner.hear()
                    assert request["params"] == payload
                    message = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
                    await owner.send(said.frame(said.BINARY, ormsgpack.packb(message)))

                nursery.start_soon(answer)
                asked = {"resource_id": "packed:1", "method": "work", "params": payload}
                assert (await caller.ask("route.call", **asked))["result"] == payload


async def test_what_is_wrong_costs_its_sender_alone() -> None:
    async with open_router() as router, open_bystanders(router) as bystanders:
        for message, code in (
            (b"\xc1", -32700),
            (b"\xdd\xff\xff\xff\xff", -32700),
            (b"\x91" * 500_000, -32700),
        ):
            async with shake_hands(router, PACKED) as peer:
                await peer.send(said.frame(said.BINARY, message))
                [answer] = await peer.hear()
                assert answer["error"]["code"] == code
                assert "result" in await peer.ask("session.ping")
        async with shake_hands(router, PACKED) as peer:
            await peer.send(said.text(b"{}"))
            assert await peer.wait_closed() == 1003
        await bystanders.wait_served()
