"""The two SDKs with each other: a program in Python uses what one in JavaScript owns, and hands over to it."""

import json
import subprocess
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
import trio

import resroute
from tests.docs.running import open_process, open_router
from tests.interop.node import Node
from tests.javascript.programs import HERE, websocket_options


@attrs.define
class Owner:
    """An instance in Node.js, and what it says."""

    url: str
    process: trio.Process
    _said: bytes = b""

    async def hear(self) -> list[Any]:
        """The next that it says."""
        assert self.process.stdout is not None
        while b"\n" not in self._said:
            chunk = await self.process.stdout.receive_some()
            assert chunk, "it ended"
            self._said += chunk
        line, _, self._said = self._said.partition(b"\n")
        told: list[Any] = json.loads(line)
        return told


@pytest.fixture
async def owner(node: Node) -> AsyncGenerator[Owner]:
    """An instance ``js`` of the service ``documents``."""
    with trio.fail_after(60):
        async with open_router() as url:
            command = [
                node.program,
                *websocket_options(node),
                "--no-warnings",
                str(HERE / "owner.mjs"),
                url,
                "js",
            ]
            async with open_process(command, stdout=subprocess.PIPE) as process:
                owner = Owner(url, process)
                assert await owner.hear() == ["ready"]
                yield owner


class Documents:
    """What the instance in Python answers."""

    def echo(self) -> str:
        """Something that tells it from the other."""
        return "python"


async def test_what_is_handed_over_from_python_to_javascript_is_called_from_python(owner: Owner) -> None:
    async with (
        resroute.open_client(owner.url) as ours,
        resroute.open_client(owner.url) as theirs,
        ours.open_instance("documents", Documents(), instance_id="py") as instance,
    ):
        await instance.register("doc:1")
        assert await theirs.call("echo", resource_id="doc:1") == "python"
        handed = await instance.transfer("doc:1", to="js", reason="a test", state={"doc:1": {"line": 3}})
        assert await owner.hear() == ["acquired", "doc:1", {"line": 3}]
        answer = await theirs.call("echo", {"text": "ä"}, resource_id="doc:1", idempotency_key="k")
        assert answer == {"params": {"text": "ä"}, "epoch": handed.epochs["doc:1"], "key": "k"}

        async with theirs.open_stream("count", {"to": 3}, resource_id="doc:1") as stream:
            assert [chunk async for chunk in stream] == [1, 2, 3]
            assert stream.result == "counted"

        with pytest.raises(resroute.RemoteError) as failed:
            await theirs.call("fail", resource_id="doc:1")
        assert (failed.value.code, failed.value.message, failed.value.data) == (
            7,
            "no such page",
            {"page": 9},
        )
        with pytest.raises(resroute.RemoteError) as missing:
            await theirs.call("nothing", resource_id="doc:1")
        assert missing.value.code == -32601

        with trio.move_on_after(0.2) as giving_up:
            await theirs.call("hold", resource_id="doc:1")
        assert giving_up.cancelled_caught
        what, why = await owner.hear()
        assert what == "aborted" and why in ("AbortError", "TimeoutError")

        async with theirs.open_notifications() as notes:
            assert await theirs.call("push", {"page": 2}, resource_id="doc:1") == "pushed"
            async for note in notes:
                assert (note.method, note.params, note.resource_id) == ("pushed", {"page": 2}, "doc:1")
                break
