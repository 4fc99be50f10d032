"""What a session leaves behind is freed at once: the collector has nothing to find."""

import gc
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import wrap_client_stream

from resroute.router import Router
from resroute.settings import Settings

REGISTER = '{"jsonrpc":"2.0","id":1,"method":"instance.register","params":{"service_name":"documents"}}'
TAKE = '{"jsonrpc":"2.0","id":2,"method":"resource.register","params":{"resource_ids":["doc:7"]}}'
CALL = '{"jsonrpc":"2.0","id":3,"method":"route.call","params":{"resource_id":"doc:7","method":"read"}}'


RESUME = (
    '{"jsonrpc":"2.0","id":1,"method":"instance.register","params":{"service_name":"documents",'
    '"instance_id":"documents-1","resume_token":"lost","resume_grace_seconds":1}}'
)


@pytest.mark.parametrize("said", [(REGISTER, TAKE, CALL), (RESUME,)], ids=["owner", "no more than a token"])
async def test_sessions_that_end_leave_no_cycles(said: Sequence[str], autojump_clock: MockClock) -> None:
    router = Router(Settings())

    async def live_and_leave() -> None:
        async with trio.open_nursery() as client:
            ours, theirs = memory_stream_pair()
            client.start_soon(router.serve_stream, theirs)
            connection = await wrap_client_stream(client, ours, "localhost", "/")  # type: ignore[arg-type]  # any will do
            for message in said:
                await connection.send_message(message)
                await connection.get_message()
            await ours.aclose()
            await connection.aclose()

    def ours_among(garbage: list[object]) -> list[str]:
        names = (type(thing).__module__ + "." + type(thing).__qualname__ for thing in garbage)
        return [
            name
            for name in names
            if name.startswith(("resroute.", "websockets.server", "websockets.streams"))
        ]

    async with trio.open_nursery() as nursery:
        await nursery.start(router.serve)
        await live_and_leave()
        await trio.sleep(30)
        gc.collect()
        gc.freeze()  # what other tests have left, and may let go of meanwhile, is not looked at
        gc.disable()
        try:
            for _ in range(5):
                await live_and_leave()
                await trio.sleep(2)
            await trio.sleep(30)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            assert ours_among(gc.garbage) == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        nursery.cancel_scope.cancel()
