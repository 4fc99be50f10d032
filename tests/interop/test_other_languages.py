"""The documentation's clients in other languages: each owns what the other calls."""

import shutil
import subprocess
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
import trio

from tests.docs.running import DOCUMENTED_URL, EXAMPLES, open_process, open_router, read_line

PROGRAMS = {"perl": "client.pl", "java": "Client.java"}


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """A router."""
    with trio.fail_after(60):
        async with open_router() as url:
            yield url


def command_of(language: str, url: str, directory: Path) -> Sequence[str]:
    """What runs the client in this language, with this router in place of the documented one."""
    program = shutil.which(language)
    if program is None:
        pytest.skip(f"{language} is not installed: the client in it is NOT tried out")
    source = (EXAMPLES / PROGRAMS[language]).read_text()
    assert source.count(DOCUMENTED_URL) == 1
    copy = directory / PROGRAMS[language]
    copy.write_text(source.replace(DOCUMENTED_URL, url))
    return program, str(copy)


@pytest.mark.parametrize(("owning", "calling"), [("perl", "java"), ("java", "perl")])
async def test_a_client_of_one_language_calls_that_of_another(
    owning: str, calling: str, url: str, tmp_path: Path
) -> None:
    own, call = command_of(owning, url, tmp_path), command_of(calling, url, tmp_path)
    async with open_process([*own, "own"], stdout=subprocess.PIPE) as owner:
        assert await read_line(owner) == (EXAMPLES / "client-own.out").read_text()
        done = await trio.run_process([*call, "call"], capture_stdout=True, capture_stderr=True)
        assert done.stdout.decode() == (EXAMPLES / "client-call.out").read_text()
        assert done.stderr == b""
