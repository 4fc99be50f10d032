"""What docs/command-line.md lets its readers type into a shell, typed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import trio

from tests.docs.running import EXAMPLES, ROOT, environment, open_router


def commands(part: str) -> Iterator[tuple[str, str]]:
    """Each command of a part of the session, and what it prints."""
    text = (EXAMPLES / "shell.txt").read_text()
    begun = text.partition(f"[start:{part}]\n")[2].partition("# --8<--")[0]
    for typed in begun.split("$ ")[1:]:
        command, _, printed = typed.partition("\n")
        yield command, printed


def without_what_varies(printed: str) -> str:
    """Epochs and ages differ each time, and how wide a column is with them."""
    return re.sub(r" +", " ", re.sub(r"\b\d{16}\b|\b\d+s\b", "N", printed))


async def test_the_session_in_the_shell_is_what_happens() -> None:
    with trio.fail_after(60):
        async with open_router() as url:
            programs = Path(sys.executable).parent
            env = environment() | {"RESROUTE_URL": url, "PATH": f"{programs}:/usr/bin:/bin"}
            [(hold, held)] = commands("hold")
            holder = await trio.lowlevel.open_process(
                f"exec {hold}", shell=True, env=env, cwd=ROOT, stdout=subprocess.PIPE
            )
            try:
                assert holder.stdout is not None
                said = b""
                while len(said) < len(held):
                    chunk = await holder.stdout.receive_some()
                    assert chunk, said
                    said += chunk
                assert said.decode() == held
                for command, printed in (*commands("call"), *commands("explain")):
                    done = await trio.run_process(
                        command,
                        shell=True,
                        env=env,
                        cwd=ROOT,
                        capture_stdout=True,
                        stderr=subprocess.STDOUT,
                        check=False,
                    )
                    assert without_what_varies(done.stdout.decode()) == without_what_varies(printed), command
            finally:
                holder.kill()
                with trio.CancelScope(shield=True):
                    await holder.wait()
                    if holder.stdout is not None:
                        await holder.stdout.aclose()
