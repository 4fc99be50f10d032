"""``resroute hold``: what it holds, loses and answers, and how it ends."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from resroute import Client, RemoteError, ResourceNotFound, open_client
from resroute.errors import OwnerDisconnected
from resroute.settings import Settings
from tests.cli.running import Program, open_program, open_router, open_serve, run

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


@asynccontextmanager
async def open_hold(
    *arguments: str, settings: Settings | None = None
) -> AsyncGenerator[tuple[Program, Client, str]]:
    """A router, somebody who holds something of it, and a caller."""
    async with (
        open_router(settings) as url,
        open_client(url) as client,
        open_program("hold", "--service=documents", f"--url={url}", *arguments) as program,
    ):
        await program.wait_said(r"serves documents as \S+\n")
        yield program, client, url


async def call(client: Client, method: str = "get", params: Any = None, resource_id: str = "doc:1") -> Any:
    return await client.call(method, params, resource_id=resource_id)


# --- what it holds ------------------------------------------------------------------------------------------


async def test_it_says_what_it_holds_and_answers_with_what_it_was_asked() -> None:
    async with open_hold("doc:1", "doc:2", "--instance=docs-1") as (program, client, _):
        assert program.stdout == "serves documents as docs-1\nholds doc:1\nholds doc:2\n"
        answer = await call(client, "get", {"a": [1]})
        assert answer.pop("epoch") > 0
        assert answer == {
            "method": "get",
            "params": {"a": [1]},
            "resource_id": "doc:1",
            "service_name": "documents",
        }
        assert await client.call("work", service_name="documents") == {
            "method": "work",
            "service_name": "documents",
        }


async def test_a_thousand_resources_are_held_in_one_step_or_none_of_them() -> None:
    names = [f"doc:{number}" for number in range(1000)]
    async with open_hold(*names, "--instance=docs-1") as (program, client, url):
        assert program.stdout.splitlines()[1:] == [f"holds {name}" for name in names]
        assert (await client.query_instances()).instances[0].resources == 1000
        async with open_program(
            "hold", *names[:150], "other", "--service=x", "--instance=x-1", f"--url={url}"
        ) as second:
            assert await second.wait_ended() == 4
            assert second.stderr == "resroute: Resource 'doc:0' is already owned by instance 'docs-1'\n"
        with pytest.raises(ResourceNotFound):
            await call(client, resource_id="other")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_told_to_stop_it_releases_everything(number: signal.Signals) -> None:
    async with open_hold("doc:1") as (program, client, _):
        program.signal(number)
        assert await program.wait_ended() == 0
        assert program.stderr == ""
        with pytest.raises(ResourceNotFound):
            await call(client)


async def test_what_somebody_else_owns_is_a_conflict() -> None:
    async with open_hold("doc:1", "--instance=docs-1") as (_, _, url):
        async with open_program("hold", "doc:1", "doc:2", "--service=x", f"--url={url}") as second:
            assert await second.wait_ended() == 4
            assert second.stdout == ""
            assert second.stderr == "resroute: Resource 'doc:1' is already owned by instance 'docs-1'\n"


async def test_with_partial_it_holds_the_rest() -> None:
    async with open_hold("doc:1", "--instance=docs-1") as (_, client, url):
        arguments = ["--service=x", "--instance=x-1", "--partial", f"--url={url}"]
        async with open_program("hold", "doc:1", "doc:2", *arguments) as second:
            await second.wait_said(r"misses doc:1 \(docs-1 owns it\)\n")
            assert second.stdout.startswith("serves x as x-1\nholds doc:2\n")
            assert (await call(client, resource_id="doc:2"))["service_name"] == "x"
        async with open_program("hold", "doc:1", *arguments) as third:
            assert await third.wait_ended() == 4
            assert third.stderr == "resroute: there is nothing to hold: others own all of it\n"


async def test_with_wait_it_has_its_turn() -> None:
    async with open_hold("doc:1") as (first, client, url):
        arguments = ["--service=x", "--instance=x-1", f"--url={url}"]
        async with open_program("hold", "doc:1", "--wait=0.2", *arguments) as hasty:
            assert await hasty.wait_ended() == 4
            assert "already owned by instance" in hasty.stderr
        async with open_program("hold", "doc:1", "--wait=60", *arguments) as second:
            await _wait_waiters(client, 1)
            first.signal(signal.SIGINT)
            await second.wait_said("serves x as x-1\nholds doc:1\n")
            assert (await call(client))["service_name"] == "x"


async def test_told_to_stop_while_it_waits_it_stands_in_no_line_any_more() -> None:
    async with open_hold("doc:1") as (_, client, url):
        async with open_program("hold", "doc:1", "--wait=60", "--service=x", f"--url={url}") as second:
            await _wait_waiters(client, 1)
            second.signal(signal.SIGTERM)
            assert (await second.wait_ended(), second.stdout, second.stderr) == (0, "", "")
            await _wait_waiters(client, 0)


def test_what_is_taken_in_part_is_not_waited_for() -> None:
    done = run("hold", "doc:1", "--wait=1", "--partial", "--service=x")
    assert (done.returncode, "cannot --wait" in done.stderr) == (2, True)


async def _wait_waiters(client: Client, count: int) -> None:
    with trio.fail_after(30):
        while (await client.explain(resource_id="doc:1")).waiters != count:  # noqa: ASYNC110  # in another process
            await trio.sleep(0.01)


async def test_a_name_that_is_taken_is_a_conflict() -> None:
    async with open_hold("--instance=docs-1") as (_, _, url):
        async with open_program("hold", "--service=documents", "--instance=docs-1", f"--url={url}") as second:
            assert await second.wait_ended() == 4
            assert second.stderr == "resroute: An instance 'docs-1' is connected already\n"


async def test_each_loss_is_told_and_whose_it_is_now() -> None:
    async with open_hold("doc:1", "doc:2", "doc:3", settings=ADMIN) as (program, _, url):
        async with open_client(url) as rival:
            async with rival.open_instance("documents", print, instance_id="rival") as instance:
                await _force(rival, "doc:1", "doc:3")
                await program.wait_said(
                    r"lost doc:1 \(rival owns it now\)\nlost doc:3 \(rival owns it now\)\n"
                )
                await _force(rival, "doc:2")
                await instance.release("doc:2")
                await program.wait_said(r"lost doc:2 \((rival|nobody) owns it now\)\n")
        program.signal(signal.SIGTERM)
        assert await program.wait_ended() == 0


async def _force(client: Client, *resource_ids: str) -> None:
    await client._link.request(
        "resource.register", {"resource_ids": list(resource_ids), "force": True}, bytes
    )


async def test_a_router_that_goes_ends_it() -> None:
    async with (
        open_serve() as serving,
        open_program("hold", "doc:1", "--service=documents", f"--url={serving.url}") as program,
    ):
        await program.wait_said("holds doc:1")
        serving.program.signal(signal.SIGTERM)
        assert await program.wait_ended() == 7
        assert "close code 1001" in program.stderr
        assert program.stderr.endswith("; all that was held is free\n")


# --- calls at work when it ends -----------------------------------------------------------------------------


async def test_the_first_signal_lets_calls_finish_and_the_second_cuts_them_off(tmp_path: Path) -> None:
    script = f"echo began >&2; while ! test -e {tmp_path}/go; do sleep 0.05; done; echo 1"
    for is_patient in (True, False):
        (tmp_path / "go").unlink(missing_ok=True)
        async with (
            open_hold("doc:1", "--exec", script) as (program, client, _),
            trio.open_nursery() as nursery,
        ):
            outcomes: list[object] = []

            async def ask(client: Client = client, outcomes: list[object] = outcomes) -> None:
                try:
                    outcomes.append(await call(client))
                except (OwnerDisconnected, RemoteError) as error:
                    outcomes.append(type(error))

            nursery.start_soon(ask)
            await program.wait_said("began")
            program.signal(signal.SIGINT)
            await program.wait_said("Calls still at work: 1; a second signal cuts them off")
            if is_patient:
                (tmp_path / "go").touch()
                assert await program.wait_ended() == 0
            else:
                program.signal(signal.SIGINT)
                assert await program.wait_ended() == 130
        assert outcomes == [1] if is_patient else outcomes[0] in (OwnerDisconnected, RemoteError)


async def test_told_to_stop_it_hands_everything_over_to_others_of_its_service() -> None:
    async with open_hold("doc:1", "doc:2", "--instance=docs-1") as (first, client, url):
        async with open_program("hold", "--service=documents", "--instance=docs-2", f"--url={url}") as second:
            await second.wait_said("serves documents as docs-2")
            first.signal(signal.SIGTERM)
            assert (await first.wait_ended(), first.stderr) == (0, "")
            await second.wait_said("acquired doc:1\nacquired doc:2\n")
            assert (await call(client))["resource_id"] == "doc:1"


async def test_calls_that_take_too_long_when_it_is_told_to_stop_are_cut_off() -> None:
    async with open_hold("doc:1", "--exec", "echo began >&2; sleep 30", "--drain-seconds=0.5") as (
        program,
        client,
        _,
    ):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(RemoteError):
                    await call(client)

            nursery.start_soon(ask)
            await program.wait_said("began")
            program.signal(signal.SIGTERM)
            assert await program.wait_ended() == 5
            assert program.stderr.endswith("longer than 0.5 seconds and are cut off: 1\n")


# --- commands -----------------------------------------------------------------------------------------------


async def test_a_command_answers_each_call() -> None:
    script = (
        'read call; echo "[$call, \\"$RESROUTE_RESOURCE_ID\\", $RESROUTE_EPOCH, \\"$RESROUTE_TRACE_ID\\"]"'
    )
    async with open_hold("doc:1", "--exec", script) as (_, client, _url):
        said, resource_id, epoch, trace_id = await call(client, "get", {"n": 2**70})
        assert said == {"method": "get", "params": {"n": 2**70}}
        assert (resource_id, epoch > 0, len(trace_id)) == ("doc:1", True, 32)


async def test_a_command_that_fails_tells_the_caller_its_last_line_and_the_terminal_all() -> None:
    async with open_hold("doc:1", "--exec", "echo first >&2; echo last >&2; exit 3") as (program, client, _):
        with pytest.raises(RemoteError) as caught:
            await call(client)
        assert (caught.value.message, caught.value.data) == ("last", {"exit_code": 3})
        await program.wait_said("first\nlast\n")


async def test_the_resource_of_an_earlier_call_is_not_in_the_environment_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESROUTE_RESOURCE_ID", "outside")
    script = 'echo "\\"${RESROUTE_RESOURCE_ID-none}\\""'
    async with (
        open_router() as url,
        open_client(url) as client,
        open_program(
            "hold", "--service=documents", f"--url={url}", "--exec", script, RESROUTE_RESOURCE_ID="outside"
        ) as program,
    ):
        await program.wait_said("serves")
        assert await client.call("get", service_name="documents") == "none"


def test_a_service_is_needed() -> None:
    done = run("hold", "doc:1")
    assert (done.returncode, done.stderr) == (
        2,
        "resroute: Missing option '--service'. Try 'resroute hold --help'.\n",
    )


async def test_ids_over_the_limit_are_refused() -> None:
    async with open_router(Settings(max_resources_per_instance=1)) as url:
        async with open_program("hold", "a", "b", "--service=s", f"--url={url}") as program:
            assert await program.wait_ended() == 8
            assert json.dumps(program.stderr).count("\\n") == 1
