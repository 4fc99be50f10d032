"""Saying something wrong, and what is heard then."""

import json
from typing import Any

import trio
import trio.testing

from tests.fuzz import said
from tests.fuzz.peer import Json, Peer

NDJSON, JSON = "resroute.v1.ndjson", "resroute.v1"

PING = '{"jsonrpc":"2.0","id":%s,"method":"session.ping"}'

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602


async def hear(peer: Peer) -> list[Any]:
    """What has been heard since the last time."""
    await trio.testing.wait_all_tasks_blocked()
    heard, peer.heard = peer.heard, []
    return heard


async def say(peer: Peer, *texts: str | bytes) -> list[Any]:
    """Say each as a text message. Returns all that is heard then."""
    for text in texts:
        await peer.send(said.text(text if isinstance(text, bytes) else text.encode()))
    return await hear(peer)


def call(number: int | str, resource_id: str = "good:1", **more: Any) -> str:
    """A ``route.call``."""
    params = {"resource_id": resource_id, "method": "echo"} | more
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "route.call", "params": params})


def request(method: str, params: str = "{}", request_id: str = "1") -> str:
    """A request to the router, parameters and id as JSON."""
    return f'{{"jsonrpc":"2.0","id":{request_id},"method":"{method}","params":{params}}}'


def short(answer: Json) -> tuple[Any, ...]:
    """An answer of the router's own in a line: the id, and the code and type of an error."""
    if "result" in answer:
        return (answer["id"], "result")
    assert answer["meta"] == {"origin": "router"}
    data = answer["error"]["data"]
    assert len(data["trace_id"]) == 32
    return (answer["id"], answer["error"]["code"], data["type"])


async def become_owner(peer: Peer, *resource_ids: str) -> None:
    """Make a peer the instance ``bad-1`` that owns resources."""
    ids = json.dumps(resource_ids)
    heard = await say(
        peer,
        request("instance.register", '{"service_name":"bad","instance_id":"bad-1"}'),
        request("resource.register", f'{{"resource_ids":{ids}}}'),
    )
    assert [short(answer) for answer in heard] == [(1, "result"), (1, "result")]


async def wait_closed(peer: Peer) -> int | None:
    """Wait until the router has hung up. Returns the code of its Close."""
    await peer.over.wait()
    return peer.close.code if peer.close is not None else None
