"""An echo server on the router's own WebSocket transport: what conformance suites ask of a server, and the router is none."""

from contextlib import suppress

import trio

from resroute.transport.interface import TransportEnded
from resroute.transport.websocket import WebSocketTransport

MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_HANDSHAKE_SECONDS = 10
_GOODBYE_SECONDS = 2


async def serve_echo(port: int = 0, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Send every text message back, until cancelled. Tells its URL once it listens."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    task_status.started(f"ws://127.0.0.1:{port}/")
    await trio.serve_listeners(echo, listeners)


async def echo(stream: trio.abc.Stream) -> None:
    """Serve one connection until it ends."""
    transport = WebSocketTransport(stream, max_message_bytes=MAX_MESSAGE_BYTES)
    code, reason = 1001, "the server stops"
    try:
        with suppress(TransportEnded), trio.fail_after(_HANDSHAKE_SECONDS):
            await transport.handshake(lambda _request: None)
        while True:
            await transport.send(await transport.receive())
    except TransportEnded as ended:
        code, reason = ended.code or 1000, ended.reason
    finally:
        with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
            await transport.aclose(code, reason)
