"""A program that is forked from a process that has imported everything is a process like any other."""

import os
import resource
import signal

import pytest
import trio

from tests.started import Started, start


async def output_of(stream: trio.abc.ReceiveStream | None) -> str:
    assert stream is not None
    return b"".join([chunk async for chunk in stream]).decode()


def running(code: str) -> tuple[str, ...]:
    """A command that runs this, after it has said that it is there."""
    return ("timeit", "-n1", "-r1", "--setup=print('ready', flush=True)", code)


async def wait_ready(process: Started) -> None:
    assert process.stdout is not None
    said = b""
    while said != b"ready\n":
        said += await process.stdout.receive_some()
        assert b"ready\n".startswith(said)


async def test_it_has_its_own_arguments_environment_streams_and_exit_code() -> None:
    with trio.fail_after(30):
        async with start("resroute", "serve", environ={"RESROUTE_PORT": "none"}) as process:
            assert await output_of(process.stdout) == ""
            complaint = "resroute: port must be a whole number, not 'none' (from RESROUTE_PORT)\n"
            assert await output_of(process.stderr) == complaint
            assert await process.wait() == 2
        async with start("resroute", "--version", environ={}) as process:
            assert (await output_of(process.stdout)).startswith("resroute ")
            assert await process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_it_heeds_signals(number: signal.Signals) -> None:
    with trio.fail_after(30):
        async with start(*running("import time; time.sleep(60)"), environ={}) as process:
            await wait_ready(process)
            process.send_signal(number)
            # timeit prints the traceback of a KeyboardInterrupt, and exits with 1
            assert await process.wait() == (1 if number == signal.SIGINT else -number)


async def test_it_has_the_limits_that_it_is_given() -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    with trio.fail_after(30):
        async with start(*running(code), environ={}, limits={resource.RLIMIT_NOFILE: 64}) as process:
            assert "(64, 64)" in (await output_of(process.stdout)).splitlines()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64


async def test_it_hears_what_it_is_told() -> None:
    with trio.fail_after(30):
        async with start(*running("print(input()[::-1])"), environ={}) as process:
            await process.stdin.send_all(b"olleh\n")
            assert "hello" in (await output_of(process.stdout)).splitlines()


async def test_nothing_is_left_of_it() -> None:
    with trio.fail_after(30):
        async with start(*running("import time; time.sleep(60)"), environ={}) as process:
            await wait_ready(process)
            process.send_signal(signal.SIGSTOP)
        while True:
            try:
                os.kill(process.pid, 0)
            except ProcessLookupError:
                break
            await trio.sleep(0.01)
