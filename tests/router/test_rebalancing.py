"""Rebalances, and a router that ends in the middle of them."""

import json

import structlog.testing
import trio
from trio.testing import MockClock

from resroute.router.router import Router
from resroute.settings import Settings
from resroute.transport.interface import JSON, TransportEnded
from resroute.transport.memory import MemoryPeer, memory_transport_pair


async def ask(peer: MemoryPeer, method: str, **params: object) -> None:
    """Make a request, whatever becomes of it."""
    await peer.send(json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params}).encode())


async def read(peer: MemoryPeer) -> None:
    """Read whatever comes, until the end."""
    try:
        while True:
            await peer.receive()
    except TransportEnded:
        pass


async def test_a_router_that_is_told_to_end_amid_rebalances_ends_well(autojump_clock: MockClock) -> None:
    router = Router(Settings(anonymous_roles=("caller", "instance", "admin")), base=1)
    peers: list[MemoryPeer] = []

    def owners() -> int:
        return sum(bool(instance.resources) for instance in router.log.state.instances())

    with structlog.testing.capture_logs() as lines:
        async with trio.open_nursery() as readers, trio.open_nursery() as nursery:
            await nursery.start(router.serve)
            for number in range(3):
                transport, peer = memory_transport_pair(subprotocol=JSON, max_message_bytes=1 << 20)
                nursery.start_soon(router.serve_transport, transport)
                readers.start_soon(read, peer)
                peers.append(peer)
                await ask(peer, "instance.register", service_name="s", instance_id=f"instance-{number}")
            names = [f"doc:{number}" for number in range(900)]
            await ask(peers[0], "resource.register", resource_ids=names)
            await trio.sleep(1)
            for peer in peers:
                await ask(peer, "service.rebalance", service_name="s", by="count")
            while owners() == 1:  # noqa: ASYNC110  # nothing tells of it
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert not [line for line in lines if line["log_level"] == "error"]
