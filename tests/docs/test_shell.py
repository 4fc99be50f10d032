"""What docs/command-line.md and docs/audit.md let their readers type into a shell, typed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import trio

from tests.docs.running import (
    EXAMPLES,
    ROOT,
    environment,
    open_administered,
    open_process,
    open_router,
    read_line,
)


def commands(part: str, session: str = "shell.txt") -> Iterator[tuple[str, str]]:
    """Each command of a part of a session, and what it prints."""
    text = (EXAMPLES / session).read_text()
    begun = text.partition(f"[start:{part}]\n")[2].partition("# --8<--")[0]
    for typed in begun.split("$ ")[1:]:
        command, _, printed = typed.partition("\n")
        yield command, printed


def without_what_varies(printed: str) -> str:
    """Epochs, times and ages differ each time, and how wide a column is with them."""
    return re.sub(r" +", " ", re.sub(r"\b\d{16}\b|\b\d+s\b|\b[\d-]{10} [\d:]{8}\b", "N", printed))


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


def without_times_and_ids(printed: str) -> str:
    varying = r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\b\d{16}\b|session-[0-9a-f]{16}"
    return re.sub(r" +", " ", re.sub(varying, "N", printed))


async def test_the_audit_log_of_an_owner_that_was_killed_is_what_the_page_shows(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    env = environment() | {"RESROUTE_DATA_DIR": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}

    async def type_in(command: str) -> str:
        done = await trio.run_process(
            command, shell=True, env=env, cwd=ROOT, capture_stdout=True, stderr=subprocess.STDOUT
        )
        return done.stdout.decode()

    with trio.fail_after(60):
        async with open_router(f"--data-dir={tmp_path}") as url:
            hold = [sys.executable, "-m", "resroute", "hold", "doc:1", "doc:2", f"--url={url}"]
            options = ["--service=documents", "--instance=documents-1"]
            async with open_process([*hold, *options], stdout=subprocess.PIPE) as holder:
                while "holds doc:2" not in await read_line(holder):
                    pass
                holder.kill()
            while "doc:2" not in await type_in("resroute audit --json"):  # noqa: ASYNC110  # another process
                await trio.sleep(0.1)
            for part in ("read", "json"):
                [(command, printed)] = commands(part, "audit.txt")
                assert without_times_and_ids(await type_in(command)) == without_times_and_ids(printed)


async def test_what_an_administrator_does_from_elsewhere_is_what_the_page_shows(tmp_path: Path) -> None:
    token = "3f9c0Vb2vZk1mY7c0eW5Q1tYx8s"
    (tmp_path / "ada.token").write_text(token)
    (tmp_path / "ada.token").chmod(0o600)
    (tmp_path / "router.toml").write_text(
        f'[resroute]\nadmin_tokens = ["ada:{token}"]\n'
        "[resroute.heartbeat]\ninterval_seconds = 60\ntimeout_seconds = 120\n"  # nobody is sent a Ping meanwhile
    )
    programs = Path(sys.executable).parent
    env = environment() | {
        "RESROUTE_PROFILES": str(tmp_path / "profiles.toml"),
        "PATH": f"{programs}:/usr/bin:/bin",
    }
    hold = [sys.executable, "-m", "resroute", "hold", "--service=documents"]
    with trio.fail_after(60):
        async with open_administered(f"--config={tmp_path / 'router.toml'}") as (url, admin_url):
            (tmp_path / "profiles.toml").write_text(
                f'[production]\nurl = "{admin_url}"\ntoken_file = "ada.token"\n'
            )
            first = [*hold, "doc:1", "doc:2", "--instance=documents-1", f"--url={url}"]
            second = [*hold, "--instance=documents-2", f"--url={url}"]
            async with (
                open_process(first, stdout=subprocess.PIPE) as one,
                open_process(second, stdout=subprocess.PIPE) as another,
            ):
                while "holds doc:2" not in await read_line(one):
                    pass
                await read_line(another)
                for command, printed in commands("look", "remote.txt"):
                    done = await trio.run_process(
                        command, shell=True, env=env, cwd=ROOT, capture_stdout=True, stderr=subprocess.STDOUT
                    )
                    seen = without_what_varies(without_times_and_ids(done.stdout.decode()))
                    assert seen == without_what_varies(without_times_and_ids(printed)), command
