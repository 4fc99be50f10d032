"""Every example of the documentation, run as its readers run it, prints what the documentation says it prints."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.docs.running import DOCUMENTED_URL, EXAMPLES, open_process, open_router

TOGETHER = {"documents": ("documents-1", "doc:1", "doc:2"), "editor": ()}
"""These two are run beside each other, with arguments; each of the others is run alone."""

FOR_ADMINISTRATORS = {"rebalance", "shards"}
"""These need a router at which every session is an administrator's."""

TYPED = {"counters"}
"""Run by what the pages let their readers type: see tests/docs/test_deploying.py."""

ALONE = sorted({path.stem for path in EXAMPLES.glob("*.py")} - TOGETHER.keys() - TYPED)


@pytest.fixture
async def _deadline() -> AsyncGenerator[None]:
    with trio.fail_after(60):
        yield


pytestmark = pytest.mark.usefixtures("_deadline")


def expected_output(name: str) -> str:
    """What the documentation shows."""
    return (EXAMPLES / f"{name}.out").read_text()


@asynccontextmanager
async def open_example(name: str, url: str, directory: Path) -> AsyncGenerator[trio.Process]:
    """An example that runs, with this router in place of the documented one."""
    source = (EXAMPLES / f"{name}.py").read_text()
    assert source.count(DOCUMENTED_URL) == 1
    program = directory / f"{name}.py"
    program.write_text(source.replace(DOCUMENTED_URL, url))
    command = [sys.executable, "-W", "error", str(program), *TOGETHER.get(name, ())]
    async with open_process(command, stdout=subprocess.PIPE) as process:
        yield process


async def output_of(process: trio.Process) -> str:
    """Everything that it prints; it must end well."""
    said: dict[str, bytes] = {}

    async def read(name: str, pipe: trio.abc.ReceiveStream | None) -> None:
        assert pipe is not None
        said[name] = b"".join([chunk async for chunk in pipe])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "stdout", process.stdout)
        nursery.start_soon(read, "stderr", process.stderr)
    assert await process.wait() == 0, said["stderr"].decode()
    assert said["stderr"] == b""
    return said["stdout"].decode()


@pytest.mark.parametrize("name", ALONE)
async def test_an_example_prints_what_the_documentation_says(name: str, tmp_path: Path) -> None:
    options: list[str] = []
    if name in FOR_ADMINISTRATORS:
        config = tmp_path / "router.toml"
        config.write_text('[resroute]\nanonymous_roles = ["caller", "instance", "admin"]\n')
        options = [f"--config={config}"]
    async with open_router(*options) as url, open_example(name, url, tmp_path) as example:
        assert await output_of(example) == expected_output(name)


async def test_a_service_and_its_client_print_what_the_documentation_says(tmp_path: Path) -> None:
    async with open_router() as url, open_example("documents", url, tmp_path) as documents:
        assert documents.stdout is not None
        expected = expected_output("documents").encode()
        said = b""
        while len(said) < len(expected):
            chunk = await documents.stdout.receive_some()
            assert chunk, "it ended"
            said += chunk
        assert said == expected
        async with open_example("editor", url, tmp_path) as editor:
            assert await output_of(editor) == expected_output("editor")
