"""Without the library for MessagePack a router does not offer it, and does everything else."""

import subprocess
import sys

_PROGRAM = """
import sys
sys.modules["ormsgpack"] = None  # as if it were not installed
import trio, trio.testing
from resroute.router import Router
from resroute.transport.interface import MSGPACK, SUBPROTOCOLS
from resroute.transport.memory import memory_transport_pair
from tests.fuzz import said

async def offer(router, *subprotocols):
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.serve_stream, theirs)
        await ours.send_all(said.handshake(*subprotocols))
        await trio.testing.wait_all_tasks_blocked()
        print("answer", bytes(await ours.receive_some(65536)).decode().replace("\\r\\n", "|").strip())
        nursery.cancel_scope.cancel()

async def main():
    async with trio.open_nursery() as nursery:
        router = Router()
        await nursery.start(router.serve)
        await offer(router, MSGPACK)
        await offer(router, MSGPACK, "resroute.v1")
        nursery.cancel_scope.cancel()

print(*SUBPROTOCOLS)
try:
    memory_transport_pair(subprotocol=MSGPACK)
except ValueError as error:
    print(error)
trio.run(main)
"""


def test_messagepack_is_not_offered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "resroute.v1.ndjson resroute.v1", done.stderr
    assert lines[1] == "resroute.v1.msgpack needs an extra that is not installed"
    refused, taken = [line.removeprefix("answer ") for line in lines if line.startswith("answer ")]
    assert refused.startswith("HTTP/1.1 400 ") and "msgpack" not in refused
    assert "this router speaks the subprotocols resroute.v1.ndjson, resroute.v1" in refused
    assert taken.startswith("HTTP/1.1 101 ") and "Sec-WebSocket-Protocol: resroute.v1|" in taken
