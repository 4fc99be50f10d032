"""Calls answered by running a command for each: one process group a call, which does not outlive it."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

import msgspec
import trio

from resroute.cli.output import complain, to_json
from resroute.client import Call
from resroute.errors import RemoteError

MAX_WAITING = 256
"""Calls that wait while as many commands run as may. Further ones are refused: their callers know best."""

GRACE_SECONDS = 1.0
"""Between asking a command to end and killing it."""

FAILED = -32000
"""The code of the error that a caller gets: JSON-RPC's first for errors of a server's own."""

_PUTTING_AWAY_SECONDS = 2 * GRACE_SECONDS  # even a killed process may hang, in the system
_KEPT_BYTES = 4096  # of what a command says on stderr; the last line is in there
_SHELL = "/bin/sh"


class Runner:
    """Runs a command for each call, a few at a time, in the order in which the calls came.

    Args:
        command: for the shell.
        jobs: how many run at a time.
        max_result_bytes: the most that a command may print.
    """

    def __init__(self, command: str, jobs: int, *, max_result_bytes: int) -> None:
        self._command = command
        self._jobs = trio.CapacityLimiter(jobs)
        self._max_result_bytes = max_result_bytes

    async def answer(self, call: Call) -> Any:
        """Run the command for a call. Cancelled, it ends the command before it returns.

        Returns:
            What the command printed; None for nothing.

        Raises:
            RemoteError: the command failed; with the last line of its stderr.
        """
        if self._jobs.statistics().tasks_waiting >= MAX_WAITING:
            raise RemoteError(FAILED, "Too many calls wait for this instance already")
        async with self._jobs:
            process = await self._start(call)
            has_ended = False
            try:
                output, last_words = await self._talk(process, _encoded(call))
                has_ended = process.returncode is not None
            finally:
                with trio.move_on_after(_PUTTING_AWAY_SECONDS, shield=True):
                    await _put_away(process, has_ended=has_ended)
        if len(output) > self._max_result_bytes:
            raise RemoteError(FAILED, f"The command printed more than {self._max_result_bytes} bytes")
        return _result(call, process.returncode, output, last_words)

    async def _start(self, call: Call) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                [_SHELL, "-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(call),
                process_group=0,  # so that all it starts can be ended with it, and Ctrl-C is ours to see
            )
        except OSError as error:
            complain(f"cannot run the command: {error}")
            raise RemoteError(FAILED, "The instance cannot run its command") from error

    async def _talk(self, process: trio.Process, text: bytes) -> tuple[bytes, bytes]:
        """Write, read, and wait for its end. Returns what it printed and its last words.

        When it prints too much, returns that, and it may still run.
        """
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        output, last_words = bytearray(), bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, text)
            nursery.start_soon(_pass_on, process.stderr, last_words)
            async for chunk in process.stdout:
                output += chunk
                if len(output) > self._max_result_bytes:
                    nursery.cancel_scope.cancel()
                    break
            else:
                await process.wait()
        return bytes(output), bytes(last_words)


async def _feed(stdin: trio.abc.SendStream, text: bytes) -> None:
    async with stdin:
        with suppress(trio.BrokenResourceError):  # it need not read
            await stdin.send_all(text)


async def _pass_on(stderr: trio.abc.ReceiveStream, last_words: bytearray) -> None:
    """What it says on stderr, it says on ours."""
    async for chunk in stderr:
        last_words += chunk
        del last_words[:-_KEPT_BYTES]
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()


async def _put_away(process: trio.Process, *, has_ended: bool) -> None:
    """End what is left of a command, and let go of it. The caller bounds the time."""
    if not has_ended:
        _signal_group(process, signal.SIGTERM)
        with trio.move_on_after(GRACE_SECONDS):
            await process.wait()
        _signal_group(process, signal.SIGKILL)
        await process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            await pipe.aclose()


def _signal_group(process: trio.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left, or nobody but zombies
        os.killpg(process.pid, number)


# --- what goes in and what comes out --------------------------------------------------------------------------


def _encoded(call: Call) -> bytes:
    return to_json({"method": call.method, "params": call.params}, pretty=False).encode() + b"\n"


def _environment(call: Call) -> dict[str, str]:
    about = {
        "RESROUTE_RESOURCE_ID": call.resource_id,
        "RESROUTE_EPOCH": call.epoch,
        "RESROUTE_TRACE_ID": call.trace_id,
    }
    inherited = {name: value for name, value in os.environ.items() if name not in about}
    return inherited | {name: str(value) for name, value in about.items() if value is not None}


def _result(call: Call, code: int | None, output: bytes, last_words: bytes) -> Any:
    """What the caller gets.

    Raises:
        RemoteError: the command failed, or what it printed is not JSON.
    """
    if code:
        lines = last_words.decode(errors="replace").strip().splitlines()
        ended = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise RemoteError(
            FAILED,
            lines[-1].strip() if lines else f"The command ended with {ended}",
            {"exit_code": code} if code > 0 else {"signal": -code},
        )
    if not output.strip():
        return None
    try:
        return msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        complain(f"what the command printed for {call.method!r} is not JSON: {error}")
        raise RemoteError(FAILED, "What the command printed is not JSON") from error
