"""The documentation's examples in JavaScript print what it says they print, with the package as npm installs it."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from tests.docs.running import DOCS, DOCUMENTED_URL, EXAMPLES, ROOT, open_router
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
    no_eval = "--disallow-code-generation-from-strings"  # as on pages that are careful about what they run
    command = [node.program, *websocket_options(node), "--no-warnings", no_eval, str(program)]
    printed = await trio.to_thread.run_sync(lambda: run(*command))
    assert printed == (EXAMPLES / f"{name}.out").read_text()


@pytest.mark.parametrize("options", ["ConnectOptions", "CallOptions"])
def test_the_page_names_every_option(options: str) -> None:
    module = (ROOT / "resroute" / "admin" / "static" / "resroute.js").read_text()
    comment = module.partition(f"@typedef {{object}} {options}\n")[2].partition("*/")[0]
    names = re.findall(r"@property \{.*\} \[(\w+)\]", comment)
    assert "signal" in names
    page = (DOCS / "javascript.md").read_text()
    assert [name for name in names if f"`{name}`" not in page] == []
