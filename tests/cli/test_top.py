"""``resroute top``: again and again, for people at a terminal, for people elsewhere, and for programs."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from resroute import Client, RouterStatistics, ServiceStatistics, open_client
from resroute.cli.topping import Look, show_top
from tests.cli.running import command, environment, never, open_program, open_router, open_serve, run

HEADINGS = ["SERVICE", "INSTANCES", "RESOURCES", "IN", "FLIGHT", "CALLS/S", "P50", "P99", "ERRORS/S"]


def answer(_call: object) -> None:
    pass


@asynccontextmanager
async def open_busy_router() -> AsyncGenerator[tuple[str, Client]]:
    """A router with an instance of ``documents`` that is called all the time, and one of ``images`` that is not."""
    async with (
        open_router() as url,
        open_client(url) as client,
        open_client(url) as other,
        client.open_instance("documents", answer, instance_id="docs-1") as documents,
        other.open_instance("images", answer, instance_id="images-1"),
        trio.open_nursery() as nursery,
    ):
        await documents.register("doc:1", "doc:2")

        async def call() -> None:
            while True:
                await client.call("get", resource_id="doc:1")
                await trio.sleep(0.005)

        nursery.start_soon(call)
        yield url, client
        nursery.cancel_scope.cancel()


def numbers(uptime: float, **calls: tuple[int, int]) -> RouterStatistics:
    """A router with services that have had so many calls and errors."""
    return RouterStatistics(
        sessions=2,
        resources=3,
        calls_in_flight=0,
        uptime_seconds=uptime,
        services={
            name: ServiceStatistics(
                instances=1,
                resources=1,
                in_flight=0,
                calls_total=total,
                errors_total={"error": errors},
                p50_ms=1.0,
                p99_ms=2.0,
            )
            for name, (total, errors) in calls.items()
        },
    )


def test_rates_are_what_was_added_in_each_second_of_the_routers_time() -> None:
    look = Look(numbers(14, a=(100, 6), b=(400, 0)), numbers(10, a=(20, 2), b=(0, 0)))
    assert [(name, rates.calls, rates.errors) for name, _, rates in look.services()] == [
        ("b", 100.0, 0.0),
        ("a", 20.0, 1.0),
    ]


def test_a_service_that_came_meanwhile_or_was_forgotten_begins_at_nothing() -> None:
    look = Look(numbers(11, new=(5, 0), again=(3, 1)), numbers(10, again=(100, 50)))
    rates = {name: (it.calls, it.errors) for name, _, it in look.services()}
    assert rates == {"new": (5.0, 0.0), "again": (3.0, 1.0)}


def test_without_an_earlier_look_there_are_no_rates() -> None:
    [(_, _, rates)] = Look(numbers(10, a=(1, 0)), None).services()
    assert (rates.calls, rates.errors) == (None, None)


async def test_elsewhere_it_is_printed_once_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_busy_router() as (url, _):
        code = await show_top(url, never(), interval_seconds=0.1, count=2, as_json=False)
    assert code == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    blocks = printed.strip().split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        head, headings, first, second = block.splitlines()
        assert re.match(r"up \d+s, sessions 3, resources 2, calls in flight ", head)
        assert headings.split() == HEADINGS
        assert first.split()[:3] == ["documents", "1", "2"]
        assert float(first.split()[4]) > 0
        assert second.split() == ["images", "1", "0", "0", "0.0", "-", "-", "0.0"]


async def test_programs_read_one_object_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_busy_router() as (url, _):
        await show_top(url, never(), interval_seconds=0.1, count=3, as_json=True)
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(objects) == 3
    documents = objects[-1]["services"]["documents"]
    assert documents["calls_per_second"] > 0
    assert documents["errors_per_second"] == 0
    assert documents["calls_total"] > objects[0]["services"]["documents"]["calls_total"]
    assert documents["p99_ms"] > 0


# --- as a process -------------------------------------------------------------------------------------------


async def test_the_process_ends_after_as_many_intervals_as_asked_for() -> None:
    async with (
        open_busy_router() as (url, _),
        open_program("top", "--interval=0.1", "--count=1", f"--url={url}") as program,
    ):
        assert await program.wait_ended() == 0
        assert program.stderr == ""
        assert program.stdout.splitlines()[1].split() == HEADINGS


async def test_ctrl_c_ends_it() -> None:
    async with (
        open_busy_router() as (url, _),
        open_program("top", "--interval=0.1", "--json", RESROUTE_URL=url) as program,
    ):
        await program.wait_said(r"calls_per_second.*\n.*calls_per_second")
        program.signal(signal.SIGINT)
        assert await program.wait_ended() == 130
        assert program.stderr == ""


async def test_it_ends_with_its_router() -> None:
    async with (
        open_serve() as serving,
        open_program("top", "--interval=0.1", f"--url={serving.url}") as program,
    ):
        await program.wait_said("SERVICE")
        serving.program.process.kill()
        assert await program.wait_ended() == 7
        assert program.stderr.startswith("resroute: ")


async def test_on_a_terminal_it_is_drawn_again_and_again_as_far_as_it_fits() -> None:
    ours, its = pty.openpty()
    async with open_busy_router() as (url, _):
        process = await trio.lowlevel.open_process(
            command("top", "--interval=0.1", f"--url={url}"),
            env=environment(COLUMNS="30", LINES="4"),
            stdout=its,
            stderr=subprocess.DEVNULL,
        )
        os.close(its)
        drawn = b""
        async with trio.lowlevel.FdStream(ours) as terminal:
            while drawn.count(b"\x1b[H\x1b[J") < 4:
                drawn += await terminal.receive_some()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    pictures = drawn.decode().split("\x1b[H\x1b[J")[1:3]
    for picture in pictures:
        lines = picture.strip().splitlines()
        assert re.match(r"up \d+s, sessions 3", lines[0])
        assert lines[-1] == "(2 more)"
        assert len(lines) == 3
        assert all(len(line) <= 30 for line in lines)


@pytest.mark.parametrize("option", ["--interval=0", "--interval=nan", "--interval=inf", "--count=0"])
def test_intervals_and_counts_have_bounds(option: str) -> None:
    done = run("top", option)
    assert (done.returncode, done.stdout) == (2, "")
    assert option.split("=", maxsplit=1)[0] in done.stderr
