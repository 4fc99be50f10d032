"""JSON-RPC libraries that know nothing of the router call an owner over a bound connection, and are told things by it."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from tests.docs.running import open_router
from tests.interop.node import Node
from tests.processes.independent import Json, Session, open_session

RESOURCE_ID = "notes/42:a"
PATH = "resources/notes/42%3Aa"

CAME = {
    "by_position": 19,
    "by_name": 19,
    "at_once": [{"text": "a"}, {"text": "b"}, {"text": "c"}],
    "owners_error": {"code": 7, "message": "no such page", "data": {"page": 9}},
    "routers_error": -32601,
    "subscribed": "subscribed",
    "pushes": [{"page": 1}, {"page": 2}],
    "counted": 2,
    "parts": [{"count": 1}, {"count": 2}],
}


class Owner:
    """Answers what the libraries ask, and keeps what it cannot answer."""

    def __init__(self, session: Session) -> None:
        self.unanswered: list[Json] = []
        self._session = session
        self._echoes: list[Json] = []

    async def run(self) -> None:
        """Answer until the end."""
        while True:
            request = await self._session.next_request()
            assert request["meta"]["resource_id"] == RESOURCE_ID
            await self._answer(request, request.get("params"))

    async def _answer(self, request: Json, params: Any) -> None:
        match request["method"]:
            case "subtract":
                pair = params if isinstance(params, list) else [params["minuend"], params["subtrahend"]]
                await self._session.answer(request, pair[0] - pair[1])
            case "echo" if len(params["text"]) == 1:
                await self._answer_last_first(request)
            case "echo":
                await self._session.answer(request, params)
            case "fail":
                error = {"code": 7, "message": "no such page", "data": params}
                await self._session.send({"id": request["id"], "error": error})
            case "subscribe":
                for page in range(1, params["count"] + 1):
                    await self._push(request["meta"]["caller"]["session_id"], {"page": page})
                await self._session.answer(request, "subscribed")
            case "count":
                for count in range(1, params["to"] + 1):
                    part = {"token": request["id"], "value": {"count": count}}
                    await self._session.send({"method": "$/progress", "params": part})
                await self._session.answer(request, params["to"])
            case _:
                self.unanswered.append(request)

    async def _answer_last_first(self, request: Json) -> None:
        """Three that come together are answered the other way round."""
        self._echoes.append(request)
        if len(self._echoes) == 3:
            while self._echoes:
                echo = self._echoes.pop()
                await self._session.answer(echo, echo["params"])

    async def _push(self, session_id: str, params: Json) -> None:
        told = await self._session.ask(
            "session.notify",
            **{"session_id": session_id, "resource_id": RESOURCE_ID, "method": "changed", "params": params},
        )
        assert told["delivered_to_outbox"] is True


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """A router."""
    with trio.fail_after(60):
        async with open_router() as url:
            yield url


@pytest.mark.parametrize("library", ["client-js", "rpc-websockets", "json-rpc-2.0", "vscode-ws-jsonrpc"])
async def test_a_library_calls_an_owner_and_is_told_things(library: str, node: Node, url: str) -> None:
    async with open_session(url) as session, trio.open_nursery() as nursery:
        await session.become("notes", RESOURCE_ID)
        owner = Owner(session)
        nursery.start_soon(owner.run)
        printed = await trio.to_thread.run_sync(
            node.run, f"{library}.mjs", f"{url}{PATH}?progress=true&timeout_seconds=20"
        )
        came, *more = map(json.loads, printed.splitlines())
        assert came == CAME
        note = await session.next_notice()
        assert (note["method"], note["params"]) == ("note", {"text": "nobody answers this"})
        if library in ("client-js", "json-rpc-2.0"):  # can send batches
            assert more == [[19, {"text": "in a batch"}]] and not owner.unanswered
        elif library == "vscode-ws-jsonrpc":  # cancels as LSP does, and so do we
            assert more == [{"code": 499, "type": "call_cancelled", "delivery": "unknown"}]
            cancelled = await session.next_notice()
            [wait] = owner.unanswered
            assert wait["method"] == "wait"
            assert (cancelled["method"], cancelled["params"]) == ("$/cancelRequest", {"id": wait["id"]})
        else:
            assert not more and not owner.unanswered
        nursery.cancel_scope.cancel()
