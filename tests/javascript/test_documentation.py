"""The documentation's examples in JavaScript print what it says they print, with the package as npm installs it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from tests.docs.running import DOCUMENTED_URL, EXAMPLES, open_router
from tests.interop.node import Node
from tests.javascript.programs import run, websocket_options


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """A router."""
    with trio.fail_after(60):
        async with open_router() as url:
            yield url


@pytest.mark.parametrize("name", ["javascript", "following"])
async def test_an_example_prints_what_the_documentation_says(
    name: str, node: Node, installed: Path, url: str
) -> None:
    source = (EXAMPLES / f"{name}.mjs").read_text()
    assert source.count(DOCUMENTED_URL) == 1
    program = installed / f"{name}.mjs"
    program.write_text(source.replace(DOCUMENTED_URL, url))
    command = [node.program, *websocket_options(node), "--no-warnings", str(program)]
    printed = await trio.to_thread.run_sync(lambda: run(*command))
    assert printed == (EXAMPLES / f"{name}.out").read_text()
