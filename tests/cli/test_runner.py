"""A command for each call."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from resroute import RemoteError
from resroute.cli.runner import FAILED, MAX_WAITING, Runner
from resroute.client import Call


def runner(command: str, jobs: int = 1, max_result_bytes: int = 1000) -> Runner:
    return Runner(command, jobs, max_result_bytes=max_result_bytes)


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("cat", {"method": "get", "params": {"é": 2**70}}),
        ("echo ' [1] '", [1]),
        ("true", None),
        ("echo; echo", None),
        ("cat >/dev/null; echo 12345678901234567890123", 12345678901234567890123),
    ],
)
async def test_what_it_prints_is_the_result(command: str, result: object) -> None:
    assert await runner(command).answer(Call("get", {"é": 2**70})) == result


async def test_it_need_not_read() -> None:
    assert await runner("echo 1").answer(Call("get", ["x" * 1_000_000])) == 1


@pytest.mark.parametrize(
    ("command", "message", "data"),
    [
        ("echo no >&2; echo >&2; exit 1", "no", {"exit_code": 1}),
        ("exit 4", "The command ended with exit code 4", {"exit_code": 4}),
        ("kill -9 $$", "The command ended with signal 9", {"signal": 9}),
        ("/does/not/exist 2>/dev/null", "The command ended with exit code 127", {"exit_code": 127}),
        ("echo '{'", "What the command printed is not JSON", None),
        ("printf '\"\\377\"'", "What the command printed is not JSON", None),
        ("yes", "The command printed more than 1000 bytes", None),
    ],
)
async def test_a_failure_is_an_error_for_the_caller(command: str, message: str, data: object) -> None:
    with trio.fail_after(10), pytest.raises(RemoteError) as caught:
        await runner(command).answer(Call("get"))
    assert (caught.value.code, caught.value.message, caught.value.data) == (FAILED, message, data)


async def test_only_the_end_of_what_it_complains_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RemoteError) as caught:
        await runner("yes a line | head -n 100000 >&2; echo the last >&2; exit 1").answer(Call("get"))
    assert caught.value.message == "the last"
    assert capfd.readouterr().err.count("a line\n") == 100_000


@asynccontextmanager
async def open_answer(running: Runner) -> AsyncGenerator[trio.Nursery]:
    """A call that is being answered; cancelled at the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.answer, Call("get"))
        yield nursery
        nursery.cancel_scope.cancel()


async def read_numbers(path: Path) -> list[int]:
    """The process ids that a command has written."""
    while True:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return [int(number) for number in text.split()]
        await trio.sleep(0.02)


async def wait_gone(number: int) -> None:
    """Wait until a process has ended. Who adopts orphans may be slow to bury them: the dead count as gone."""
    while True:
        try:
            if Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
            os.kill(number, 0)
        except (FileNotFoundError, ProcessLookupError):
            return
        await trio.sleep(0.02)


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_a_call_that_is_cancelled_takes_all_its_processes_along(tmp_path: Path, trap: str) -> None:
    numbers = tmp_path / "numbers"
    command = f"{trap}sleep 1000 & echo $$ $! > {numbers}.new; mv {numbers}.new {numbers}; wait; sleep 1000"
    with trio.fail_after(20):
        async with open_answer(runner(command)):
            shell, child = await read_numbers(numbers)
            began = trio.current_time()
        assert trio.current_time() - began < 5
        await wait_gone(shell)
        await wait_gone(child)


async def test_a_call_out_of_time_is_ended(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    with trio.move_on_after(0.5) as scope:
        await runner(f"echo $$ > {numbers}; sleep 1000").answer(Call("get"))
    assert scope.cancelled_caught
    with trio.fail_after(20):
        [shell] = await read_numbers(numbers)
        await wait_gone(shell)


async def test_so_many_run_at_a_time_and_the_others_wait_in_order(tmp_path: Path) -> None:
    running = runner(f'read call; echo "$call" >> {tmp_path}/log; sleep 0.05; echo 1', jobs=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(running.answer, Call(f"m{number}"))
                await trio.testing.wait_all_tasks_blocked()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[11:13] for line in lines] == [f"m{number}" for number in range(5)]


async def test_too_many_that_wait_are_refused() -> None:
    running = runner("sleep 1000")
    with trio.fail_after(20):
        async with open_answer(running) as nursery:
            for _ in range(MAX_WAITING):
                nursery.start_soon(running.answer, Call("get"))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RemoteError, match="Too many calls wait"):
                await running.answer(Call("get"))


async def test_ctrl_c_at_the_terminal_is_not_the_commands_to_see(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    with trio.fail_after(20):
        async with open_answer(runner(f"ps -o pgid= -p $$ > {numbers}; sleep 1000")):
            [group] = await read_numbers(numbers)
            assert group != os.getpgrp()
            os.killpg(group, signal.SIGKILL)
