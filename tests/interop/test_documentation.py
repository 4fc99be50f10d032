"""The documentation's examples in other languages, run as their readers run them, print what it says they print."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from tests.docs.running import DOCUMENTED_URL, EXAMPLES, open_process, open_router, read_line
from tests.interop.node import HERE, Node
from tests.processes.independent import open_session


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """A router."""
    with trio.fail_after(60):
        async with open_router() as url:
            yield url


def copy_of(name: str, url: str, directory: Path) -> Path:
    """An example with this router in place of the documented one, where Node.js finds the packages."""
    source = (EXAMPLES / name).read_text()
    assert source.count(DOCUMENTED_URL) == 1
    packages = directory / "node_modules"
    if not packages.exists():
        packages.symlink_to(HERE / "node_modules")
    (directory / name).write_text(source.replace(DOCUMENTED_URL, url))
    return directory / name


def expected_output(name: str) -> str:
    """What the documentation shows."""
    return (EXAMPLES / f"{name}.out").read_text()


async def test_a_library_asks_the_owner_of_the_quickstart(node: Node, url: str, tmp_path: Path) -> None:
    owner = copy_of("documents.py", url, tmp_path)
    command = [sys.executable, str(owner), "documents-1", "doc:1", "doc:2"]
    async with open_process(command, stdout=subprocess.PIPE) as documents:
        assert await read_line(documents) == expected_output("documents")
        client = copy_of("library.mjs", url, tmp_path)
        assert await trio.to_thread.run_sync(node.run, str(client)) == expected_output("library")


async def test_a_library_answers_for_a_resource(node: Node, url: str, tmp_path: Path) -> None:
    program = copy_of("answering.mjs", url, tmp_path)
    async with open_process([node.program, str(program)], stdout=subprocess.PIPE) as answering:
        assert await read_line(answering) == expected_output("answering")
        async with open_session(url) as caller:
            assert await caller.call("add", {"a": 2, "b": 3}, resource_id="sum:1") == 5
