"""Connections that are bound by their URL, over sockets: what they reach, what they are told, and how they are refused."""

import trio

from tests.processes.running import open_router

ID = "notes/42:a"


async def test_a_bound_connection_reaches_each_owner_and_is_told_of_all() -> None:
    async with open_router() as router:
        async with router.open_bound(ID, "?owner_changes=true&timeout_seconds=20") as bound:
            refused = await (await bound.start("read", tag="nobody")).wait_refused()
            assert (refused.type, refused.data["resource_id"]) == ("resource_not_found", ID)
            async with router.open_owner("store-1", ID) as owner:
                first = await bound.next_notice()
                assert first["method"] == "$/ownerChanged"
                held = await bound.start("hold", tag="held")
                await owner.wait_requests(1)
                [request] = owner.requests()
                assert (request["method"], request["params"]) == ("hold", {"tag": "held"})
                assert request["meta"]["epoch"] == first["params"]["epoch"]
                owner.kill()
                refused = await held.wait_refused()
                assert (refused.type, refused.data["delivery"]) == ("owner_disconnected", "unknown")
            assert (await bound.next_notice())["params"] == {"resource_id": ID}
            async with router.open_instance("store-2", ID) as successor:
                second = await bound.next_notice()
                assert second["params"]["epoch"] > first["params"]["epoch"]
                pending = await bound.start("read", tag="again")
                request = await successor.next_request()
                told = await successor.ask(
                    "session.notify",
                    **{"session_id": request["meta"]["caller"]["session_id"], "resource_id": ID},
                    **{"method": "changed", "params": {"page": 3}},
                )
                assert told["delivered_to_outbox"] is True
                await successor.answer(request, "hello")
                assert await pending.wait() == "hello"
                pushed = await bound.next_notice()
                assert pushed == {"jsonrpc": "2.0", "method": "changed", "params": {"page": 3}}
        await router.wait_baseline()


async def test_a_wrong_url_is_refused_with_a_sentence() -> None:
    async with open_router() as router:
        for target, status, words in [
            ("/resource/a", 404, "sessions are at /, /resources/RESOURCE_ID and /services/SERVICE_NAME."),
            ("/resources/a%20b", 400, "'a b' is not a valid resource id"),
            ("/resources/a?timeout_seconds=-1", 400, "timeout_seconds must be a number above 0"),
            ("/services/a?owner_changes=true", 400, "'owner_changes' is unknown here"),
        ]:
            async with await trio.open_tcp_stream("127.0.0.1", router.port) as stream:
                await stream.send_all(
                    f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
                )
                head, _, body = b"".join([chunk async for chunk in stream]).decode().partition("\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} "), target
            assert words in body and body.endswith(".\n"), target
        await router.wait_baseline()
