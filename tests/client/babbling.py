"""A router that says anything: right answers, nearly right ones, and what makes no sense at all. By a seed."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import trio

from resroute.errors import ROUTER_ERRORS, ConnectionLost
from tests.client.scripted import INFO

_WORDS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 5, 2**53, 2**70, 1.5, -0.0, 1e300),
    *(
        "",
        "a",
        "r:1",
        "doc:1",
        "i1",
        "forced",
        "transfer",
        "resume",
        "2026-01-01T00:00:00Z",
        "\ud800",
        "x" * 300,
    ),
)
_NAMES = [
    "batch_results",
    "cause",
    "caller",
    "code",
    "complete",
    "conflicts",
    "count",
    "cursor",
    "data",
    "delivery",
    "epoch",
    "epochs",
    "errors",
    "event",
    "events",
    "expires_at",
    "failed",
    "handed_over",
    "has_more",
    "heartbeat",
    "id",
    "in_flight",
    "index",
    "instance_id",
    "instances",
    "limit",
    "limits",
    "message",
    "metadata",
    "moves",
    "new_owner",
    "next_cursor",
    "origin",
    "progress",
    "reason",
    "reconnect_after_seconds",
    "registered",
    "released",
    "renewed",
    "resource",
    "resource_id",
    "resource_ids",
    "resources",
    "resume_token",
    "resumed",
    "resumed_count",
    "retry_after_seconds",
    "revision",
    "services",
    "session_id",
    "state",
    "success",
    "timeout_seconds",
    "token",
    "total_count",
    "total_requested",
    "trace_id",
    "transfer_id",
    "transfer_ids",
    "type",
    "url",
    "value",
    "watch_id",
]
_NOTICES = (
    "$/cancelRequest",
    "$/progress",
    "$/telepathy",
    "resource.acquired",
    "resource.events",
    "resource.lost",
    "resource.watch_lost",
    "session.closing",
    "session.expiring",
    "work",
)
_RESULTS: Mapping[str, Any] = {
    "instance.drain": {"handed_over": 0, "released": 0, "in_flight": 0},
    "instance.register": {"instance_id": "i1", "resume_token": "t", "resumed_count": 0, "resumed": {}},
    "resource.register": {"success": True, "registered": ["doc:1"], "conflicts": {}, "epochs": {"doc:1": 5}},
    "resource.release": {"success": True, "released": ["doc:1"], "failed": {}},
    "resource.watch": {"watch_id": "w1", "revision": 5, "resources": []},
}
_ERROR_DATA: Mapping[str, Any] = {
    "conflicts": {"doc:1": "i2"},
    "current": 1,
    "current_version": 2,
    "delivery": "unknown",
    "errors": [{"path": "a", "message": "b"}],
    "expected_version": 1,
    "instance_id": "i2",
    "limit": 5,
    "method": "m",
    "oldest_revision": 5,
    "owner_instance_id": "i2",
    "reason": "overloaded",
    "requested": 2,
    "required": "admin",
    "resource_id": "doc:1",
    "retry_after_seconds": 0.1,
    "service_name": "s",
    "session_id": "session-2",
    "timeout_seconds": 2,
    "trace_id": "t",
    "watch_id": "w1",
}
_NO_MESSAGES = (
    "{",
    "[]",
    "null",
    '"x"',
    "\x00",
    "[" * 5000,
    '{"id":1}',
    '{"jsonrpc":"2.0","id":2,"result":1e999}',
)


class BabblingConnection:
    """See :class:`resroute.client.Connection`."""

    subprotocol = "resroute.v1.ndjson"
    heard_at = float("inf")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._is_greeted = False
        self._tokens: list[str] = []  # of those who want to know how far it is
        self._send, self._receive = trio.open_memory_channel[str](100_000)

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        for line in text.split("\n"):
            message = json.loads(line)
            if "method" in message and "id" in message:
                if token := message["params"].get("progress_token"):
                    self._tokens.append(token)
                    self._say(self._progress())
                self._answer(message["id"], message["method"])
            for _ in range(self._random.randrange(3)):
                self._say(self._spoilt(self._notice(), 0.03))

    async def receive(self) -> str:
        try:
            return await self._receive.receive()
        except trio.ClosedResourceError:
            raise ConnectionLost(reason="it was closed") from None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self._send.close()
        self._receive.close()

    def _say(self, message: object) -> None:
        try:
            self._send.send_nowait(json.dumps(message))
        except trio.BrokenResourceError:
            pass  # nobody listens any more

    def _answer(self, request_id: int, method: str) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id}
        if not self._is_greeted:
            self._is_greeted = True
            self._say(answer | {"result": INFO})
            return
        result = _RESULTS.get(method, self._anything())
        match self._random.randrange(10):
            case 0 | 1 | 2 | 3:
                self._say(answer | {"result": result})
            case 4 | 5 | 6:
                self._say(answer | {"result": self._spoilt(result, 0.3)})
            case 7 | 8:
                self._say(answer | self._error())
            case _:
                self._send.send_nowait(self._random.choice(_NO_MESSAGES))

    def _error(self) -> dict[str, Any]:
        kind = self._random.choice(list(ROUTER_ERRORS))
        data = self._spoilt({"type": kind, **_ERROR_DATA}, 0.2)
        error = {"code": ROUTER_ERRORS[kind].code, "message": "no", "data": data}
        return {"error": self._spoilt(error, 0.05), "meta": self._spoilt({"origin": "router"}, 0.1)}

    def _notice(self) -> dict[str, Any]:
        notice: dict[str, Any] = {"jsonrpc": "2.0", "method": self._random.choice(_NOTICES)}
        notice["params"] = self._anything()
        if self._random.random() < 0.4:
            notice["id"] = self._random.choice((1, 2, "a", "r:1", None, 1.5, True))
        if self._random.random() < 0.5:
            meta = {
                "resource_id": "doc:1",
                "epoch": self._random.randrange(8),
                "caller": {"session_id": "session-2"},
            }
            meta["timeout_seconds"] = self._random.choice((1, 0, -1, 1e300))
            notice["meta"] = self._spoilt(meta | {"service_name": "s", "progress": True}, 0.2)
        return notice

    def _progress(self) -> dict[str, Any]:
        counts = ("done", "total", "handed_over", "released", "success_count", "failure_count", "duration_ms")
        value = {name: self._random.randrange(3) for name in counts}
        value["batch_number"] = self._random.choice((0, 1, 2, 3, 4, -1, 2**70))
        params = {"token": self._random.choice(self._tokens), "value": self._spoilt(value, 0.05)}
        return {"jsonrpc": "2.0", "method": "$/progress", "params": params}

    def _anything(self, depth: int = 0) -> Any:
        chance = self._random.random()
        if depth < 4 and chance < 0.25:
            return [self._anything(depth + 1) for _ in range(self._random.randrange(4))]
        if depth < 4 and chance < 0.5:
            count = self._random.randrange(5)
            return {self._random.choice(_NAMES): self._anything(depth + 1) for _ in range(count)}
        return self._random.choice(_WORDS)

    def _spoilt(self, value: Any, chance: float) -> Any:
        """The same with something else here and there."""
        if self._random.random() < chance:
            return self._anything()
        if isinstance(value, dict):
            return {
                name: self._spoilt(each, chance / 2)
                for name, each in value.items()
                if self._random.random() > 0.05
            }
        if isinstance(value, list):
            return [self._spoilt(each, chance / 2) for each in value]
        return value
