"""What ``rpc.discover`` answers, in the hands of OpenRPC's reference implementation, ``@open-rpc/schema-utils-js``."""

import copy
import json
from typing import Any

import pytest
import trio
from websockets.trio.client import connect

from resroute.protocol.methods import METHODS
from tests.cli.running import open_router
from tests.interop.node import Node


async def discovered() -> dict[str, Any]:
    """The document, as a client gets it."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}
    with trio.fail_after(20):
        async with open_router() as url, connect(url) as websocket:
            await websocket.send(json.dumps(request))
            answer = json.loads(await websocket.recv())
    assert isinstance(answer["result"], dict)
    return answer["result"]


async def test_the_reference_implementation_accepts_what_the_router_answers(node: Node) -> None:
    printed = node.run("openrpc.mjs", stdin=json.dumps(await discovered()))
    assert json.loads(printed) == list(METHODS)


async def test_it_would_not_accept_just_anything(node: Node) -> None:
    wrong = copy.deepcopy(await discovered())
    del wrong["methods"][0]["name"]
    with pytest.raises(AssertionError, match="name"):
        node.run("openrpc.mjs", stdin=json.dumps(wrong))
    astray = copy.deepcopy(await discovered())
    astray["methods"][0]["result"]["schema"] = {"$ref": "#/components/schemas/Nowhere"}
    with pytest.raises(AssertionError, match="Nowhere"):
        node.run("openrpc.mjs", stdin=json.dumps(astray))
