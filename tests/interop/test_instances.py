"""Plain instances built on JSON-RPC libraries register, and answer calls and bound connections."""

import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.docs.running import open_process, open_router, read_line
from tests.interop.node import HERE, Node
from tests.processes.independent import Refused, Session, open_session

SERVICE, RESOURCE_ID = "sums", "sum:1"


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """A router."""
    with trio.fail_after(60):
        async with open_router() as url:
            yield url


@asynccontextmanager
async def open_instance(url: str, *command: str) -> AsyncGenerator[None]:
    """A program that is an instance, once it says that it is."""
    arguments = [*command, url, SERVICE, RESOURCE_ID]
    async with open_process(arguments, stdout=subprocess.PIPE) as process:
        assert await read_line(process) == "ready\n"
        yield


async def check_answers(caller: Session, target: dict[str, str]) -> None:
    """Everything that a call can be."""

    async def call(method: str, params: Sequence[int] | dict[str, object] | None = None) -> object:
        given = {} if params is None else {"params": params}
        return await caller.ask("route.call", method=method, **given, **target)

    assert await call("subtract", [42, 23]) == 19
    assert await call("subtract", {"subtrahend": 23, "minuend": 42}) == 19
    with pytest.raises(Refused) as failed:
        await call("fail", {"page": 9})
    assert (failed.value.code, failed.value.data, failed.value.is_routers) == (7, {"page": 9}, False)
    with pytest.raises(Refused) as unknown:
        await call("no_such")
    assert (unknown.value.code, unknown.value.is_routers) == (-32601, False)


async def check_notification(caller: Session, text: str) -> None:
    """One is delivered, before what is called after it."""
    noted = {"resource_id": RESOURCE_ID, "method": "note", "params": {"text": text}}
    await caller.send({"method": "route.call", "params": noted})
    notes = await caller.ask("route.call", method="notes", resource_id=RESOURCE_ID)
    assert notes[-1] == text


async def check_instance(url: str, *command: str) -> None:
    """By resource, by service, and for a library that is bound to it."""
    async with open_instance(url, *command), open_session(url) as caller:
        await check_answers(caller, {"resource_id": RESOURCE_ID})
        await check_answers(caller, {"service_name": SERVICE})
        await check_notification(caller, "hello")


async def test_jsonrpcserver_answers(libraries_python: Path, url: str) -> None:
    await check_instance(url, str(libraries_python), str(HERE / "jsonrpcserver_instance.py"))


async def test_json_rpc_2_answers(node: Node, url: str) -> None:
    await check_instance(url, node.program, str(HERE / "json-rpc-2.0-instance.mjs"))
