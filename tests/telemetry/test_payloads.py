"""A router in a process of its own, busy and at its most talkative: its log has no word of what goes through it."""

import json
import signal
from contextlib import suppress
from typing import Any

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect
from websockets.trio.connection import Connection

from tests.cli.running import open_serve

MARK = "q7sesame"
"""Stands in everything that passes through, and nowhere else."""

ROUNDS = 50


async def hear(peer: Connection, request_id: int) -> dict[str, Any]:
    """The answer to a request, or the request of that id."""
    while True:
        message = json.loads(await peer.recv())
        if message.get("id") == request_id or "method" in message:
            assert isinstance(message, dict)
            return message


async def say(peer: Connection, **members: Any) -> None:
    await peer.send(json.dumps({"jsonrpc": "2.0"} | members))


async def ask(peer: Connection, method: str, **params: Any) -> dict[str, Any]:
    await say(peer, id=0, method=method, params=params)
    return await hear(peer, 0)


async def call(caller: Connection, owner: Connection, **answer: Any) -> None:
    """One call with its answer, all of it marked."""
    given = {"text": MARK, MARK: [MARK]}
    await say(
        caller,
        id=1,
        method="route.call",
        meta={MARK: MARK},
        params={"resource_id": "doc:1", "method": "read", "params": given, "idempotency_key": MARK},
    )
    delivered = await hear(owner, 1)
    assert delivered["params"] == given
    await say(owner, id=delivered["id"], **answer)
    await hear(caller, 1)


async def misbehave(url: str) -> None:
    """Say, as strangers of all kinds, what is no message, marked all the same."""
    texts: list[str | bytes] = [
        MARK,
        f'{{"jsonrpc": "2.0", "id": 1, "method": "session.ping", "params": {{"{MARK}": 1}}}}',
        f'{{"jsonrpc": "2.0", "id": 1, "method": "session.ping", "params": "{MARK}"}}',
        f'{{"jsonrpc": "2.0", "id": ["{MARK}"], "method": "session.ping"}}',
        f'[{{"jsonrpc": "2.0", "id": 1, "result": "{MARK}"}}, "{MARK}"]',
        f'{{"jsonrpc": "2.0", "id": 1, "method": "resource.register", "params": {{"resource_ids": ["{MARK} "]}}}}',
        MARK * 200_000,
        MARK.encode(),
    ]
    for text in texts:
        async with connect(url, compression=None) as stranger:
            with suppress(ConnectionClosed):
                await stranger.send(text)
                await stranger.send('{"jsonrpc": "2.0", "id": 7, "method": "session.ping"}')
                while '"id":7' not in await stranger.recv(decode=True):
                    pass


async def test_payloads_are_in_no_line_at_any_level() -> None:
    with trio.fail_after(40):
        async with open_serve("--log-level=debug") as serving:
            async with connect(serving.url) as owner, connect(serving.url) as caller:
                await ask(owner, "instance.register", service_name="documents", metadata={MARK: MARK})
                await ask(owner, "resource.register", resource_ids=["doc:1"])
                for _ in range(ROUNDS):
                    await call(caller, owner, result={MARK: MARK})
                    await call(caller, owner, error={"code": 1, "message": MARK, "data": MARK})
                    await call(caller, owner, error=MARK)
                    await say(owner, id=99, result=MARK)
                await misbehave(serving.url)
                await ask(owner, "resource.release", resource_ids=["doc:1"])
            serving.program.signal(signal.SIGTERM)
            assert await serving.program.wait_ended() == 0
            said = serving.program.stderr
    assert MARK not in said
    lines = [json.loads(line) for line in said.splitlines()[1:]]
    assert {"session opened", "instance registered", "resources registered", "session ended"} <= {
        line["message"] for line in lines
    }
    assert len(lines) < ROUNDS, "calls have no lines"
    for line in lines:
        assert line.keys() >= {"timestamp", "level", "message"}
