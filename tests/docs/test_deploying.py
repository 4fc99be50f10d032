"""What docs/deploying.md lets its readers type, typed, while others call without a pause."""

import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from resroute import open_client
from tests.docs.running import DOCUMENTED_URL, EXAMPLES, environment, open_router
from tests.docs.test_shell import commands

PARTS = ("serve", "stop", "replace", "spread", "empty")
_AT_WORK = re.compile(r"; calls still at work: [0-9]+$", re.MULTILINE)


@attrs.define
class Shell:
    """A shell with jobs: what runs in the background, by its number."""

    env: dict[str, str]
    directory: Path
    jobs: list[trio.Process] = attrs.field(factory=list)

    async def type_in(self, command: str, printed: str) -> None:
        """Run a command, or signal a job, and look whether it prints what the page shows."""
        if command.endswith(" &"):
            self.jobs.append(await self._start(f"exec {command.removesuffix(' &')}"))
            assert await _read(self.jobs[-1], len(printed)) == printed, command
        elif command.startswith("kill %"):
            job = self.jobs[int(command.removeprefix("kill %")) - 1]
            job.terminate()
            assert await _read(job, len(printed)) == printed, command
            assert await job.wait() == 0
        else:
            done = await trio.run_process(
                command,
                shell=True,
                env=self.env,
                cwd=self.directory,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
            )
            # calls go on meanwhile, and one may be at work in that moment
            assert _AT_WORK.sub("", done.stdout.decode()) == printed, command

    async def _start(self, command: str) -> trio.Process:
        return await trio.lowlevel.open_process(
            command, shell=True, env=self.env, cwd=self.directory, stdout=subprocess.PIPE
        )


async def _read(process: trio.Process, length: int) -> str:
    """The next so many characters that it prints, fewer if it ends."""
    assert process.stdout is not None
    said = b""
    while len(said) < length and (chunk := await process.stdout.receive_some()):
        said += chunk
    return said.decode()


@asynccontextmanager
async def open_shell(url: str, directory: Path) -> AsyncGenerator[Shell]:
    """A shell in which ``counters.py`` finds this router; its jobs end with it."""
    source = (EXAMPLES / "counters.py").read_text()
    assert source.count(DOCUMENTED_URL) == 1
    (directory / "counters.py").write_text(source.replace(DOCUMENTED_URL, url))
    programs = Path(sys.executable).parent
    shell = Shell(environment() | {"RESROUTE_URL": url, "PATH": f"{programs}:/usr/bin:/bin"}, directory)
    try:
        yield shell
    finally:
        for job in shell.jobs:
            job.kill()
            with trio.CancelScope(shield=True):
                await job.wait()
                if job.stdout is not None:
                    await job.stdout.aclose()


async def call_without_a_pause(url: str, counts: list[int], until: trio.Event) -> None:
    """Have one resource count, again and again."""
    async with open_client(url, reconnect=None, retry=None) as client:
        while not until.is_set():
            counts.append(await client.call("add", resource_id="visits:2"))
            await trio.sleep(0.005)


async def test_what_the_page_says_is_what_happens_and_no_call_fails_meanwhile(tmp_path: Path) -> None:
    with trio.fail_after(110):
        config = tmp_path / "resroute.toml"
        config.write_text('[resroute]\nanonymous_roles = ["caller", "instance", "admin"]\n')
        async with open_router(f"--config={config}") as url, open_shell(url, tmp_path) as shell:
            counts: list[int] = []
            kept = 0
            until = trio.Event()
            async with trio.open_nursery() as nursery:
                for part in PARTS:
                    for command, printed in commands(part, "deploying.txt"):
                        await shell.type_in(command, printed)
                    if part == "serve":
                        nursery.start_soon(call_without_a_pause, url, counts, until)
                    if part == "replace":
                        kept = len(counts)
                until.set()
            # each instance has gone on where the one before left off, up to where the router moves without state
            assert kept > 10
            assert counts[:kept] == list(range(1, kept + 1))
            assert len(counts) > kept


def test_every_part_of_the_session_stands_on_the_page() -> None:
    page = (EXAMPLES.parent / "deploying.md").read_text()
    assert all(f'--8<-- "docs/examples/deploying.txt:{part}"' in page for part in PARTS)
