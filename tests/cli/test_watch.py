"""``resroute watch``: lines for people and for programs, as things happen, until it is told to stop."""

import json
import re
import signal

import pytest
import trio

from resroute import open_client
from resroute.settings import Settings
from tests.cli.running import open_program, open_router, open_serve, run

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"), watch_history_events=5)


def answer(_call: object) -> None:
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_events_are_lines_until_a_signal_comes(number: signal.Signals) -> None:
    with trio.fail_after(30):
        async with open_router(ADMIN) as url, open_client(url) as client:
            async with (
                open_program("watch", "--prefix", "doc:", "--url", url) as program,
                client.open_instance("documents", answer, instance_id="one") as instance,
            ):
                await program.wait_said("CAUSE")
                await instance.register("doc:1", "img:1")
                await instance.release("doc:1")
                await program.wait_said("released")
                program.signal(number)
                assert await program.wait_ended() == 0
    lines = [line.split() for line in program.stdout.splitlines()]
    assert lines[0] == ["TIME", "EVENT", "RESOURCE", "OWNER", "CAUSE"]
    assert [line[1:] for line in lines[1:]] == [
        ["registered", "doc:1", "one", "request"],
        ["released", "doc:1", "one", "request"],
    ]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", line[0]) for line in lines[1:])
    assert re.fullmatch(r"To go on from here: --from-revision \d+\n", program.stderr)


async def test_programs_get_json_lines_and_can_go_on_from_a_revision() -> None:
    with trio.fail_after(30):
        async with open_router(ADMIN) as url, open_client(url) as client, open_client(url) as rival:
            async with (
                open_program("watch", "--json", "--service", "documents", "--url", url) as program,
                client.open_instance("documents", answer, instance_id="one") as instance,
            ):
                while not program.stdout:  # it may not watch yet
                    await instance.register("doc:1", metadata={"doc:1": {"tags": ["new"]}})
                    await instance.release("doc:1")
                    await trio.sleep(0.05)
                program.signal(signal.SIGINT)
                assert await program.wait_ended() == 0
                first = json.loads(program.stdout.splitlines()[0])
                assert {"event", "cause", "revision", "resource"} <= first.keys()
                assert first["resource"]["metadata"]["tags"] == ["new"]
                revision = program.stderr.split()[-1]
                await instance.register("doc:2")
                again = ("watch", "--json", "--url", url, "--from-revision", revision)
                async with open_program(*again) as program:
                    await program.wait_said("doc:2")
                    async with rival.open_instance("other", answer, instance_id="two") as other:
                        await other.register("img:1", metadata={"img:1": {"resource_type": "image"}})
                        await program.wait_said("img:1")
                    program.signal(signal.SIGTERM)
                    assert await program.wait_ended() == 0
        told = [json.loads(line) for line in program.stdout.splitlines()]
        assert ("registered", "doc:2", "one") in [
            (it["event"], it["resource"]["resource_id"], it["resource"]["owner_instance_id"]) for it in told
        ]
        assert "previous_owner" not in next(it for it in told if it["event"] == "registered")


async def test_what_the_router_has_forgotten_is_a_conflict() -> None:
    with trio.fail_after(30):
        async with (
            open_router(ADMIN) as url,
            open_program("watch", "--url", url, "--from-revision", "0") as program,
        ):
            assert await program.wait_ended() == 4
    assert "take a new snapshot" in program.stderr
    assert program.stdout == ""


async def test_the_end_of_the_router_ends_it() -> None:
    with trio.fail_after(30):
        async with open_serve() as serving, open_program("watch", "--url", serving.url) as program:
            await program.wait_said("CAUSE")
            serving.program.signal(signal.SIGTERM)
            assert await program.wait_ended() == 7
    assert "--from-revision" in program.stderr and "1001" in program.stderr


def test_mistakes_are_usage_errors() -> None:
    for arguments in (["--from-revision", "-1"], ["--from-revision", "x"], ["doc:1"], ["--tag"]):
        assert run("watch", *arguments).returncode == 2
    assert run("watch", "--url", "ws://127.0.0.1:1/").returncode == 7
