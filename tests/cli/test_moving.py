"""``resroute transfer``, ``drain`` and ``kick``: what administrators do with what others own."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from resroute import Client, Forbidden, Instance, InstanceNotFound, NotOwner, SessionNotFound, open_client
from resroute.cli import moving
from resroute.cli.exits import REFUSED, code_for
from resroute.cli.interrupts import Interruption
from resroute.settings import Settings
from tests.cli.running import never, open_program, open_router, run
from tests.cli.test_explain import answer

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


@asynccontextmanager
async def open_pair(settings: Settings = ADMIN) -> AsyncGenerator[tuple[str, Instance, Instance, Client]]:
    """An owner of three resources, and another of its service; and the client of the first."""
    async with (
        open_router(settings) as url,
        open_client(url) as client,
        open_client(url) as another,
        client.open_instance("documents", answer, instance_id="docs-1") as owner,
        another.open_instance("documents", answer, instance_id="docs-2") as heir,
    ):
        await owner.register("doc:1", "doc:2", "doc:3")
        yield url, owner, heir, client


async def wait_owns(instance: Instance, *resource_ids: str) -> None:
    """Wait until it has been told that it owns exactly these."""
    while sorted(instance.resources) != sorted(resource_ids):  # noqa: ASYNC110  # nothing tells of its own doings
        await trio.sleep(0.005)


async def transfer(
    url: str,
    *resource_ids: str,
    to: str = "docs-2",
    source: str | None = None,
    partial: bool = False,
    as_json: bool = False,
) -> int:
    return await moving.transfer_resources(
        url, resource_ids, never(), to=to, source=source, reason="test", partial=partial, as_json=as_json
    )


async def drain(
    url: str, instance_id: str = "docs-1", *, as_json: bool = False, batch_size: int = 100
) -> int:
    return await moving.drain_instance(
        url,
        instance_id,
        never(),
        hand_over_to="service",
        deadline_seconds=None,
        batch_size=batch_size,
        as_json=as_json,
    )


async def kick(
    url: str, session_id: str | None = None, *, instance_id: str | None = None, as_json: bool = False
) -> int:
    return await moving.end_session(
        url, never(), session_id=session_id, instance_id=instance_id, reason="test", as_json=as_json
    )


# --- transfer -------------------------------------------------------------------------------------------------------


async def test_all_that_is_named_goes_to_the_other_instance(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, owner, heir, _):
        assert await transfer(url, "doc:1", "doc:2") == 0
        await wait_owns(heir, "doc:1", "doc:2")
        await wait_owns(owner, "doc:3")
        assert capsys.readouterr().out == "transferred doc:1 to docs-2\ntransferred doc:2 to docs-2\n"
        assert await transfer(url, "doc:3", source="docs-1", as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["transferred"], told["failed"]) == (["doc:3"], {})
        assert told["transfer_id"].startswith("transfer-")


async def test_one_that_is_not_where_it_was_said_to_be_keeps_all_of_them_there() -> None:
    async with open_pair() as (url, owner, heir, _):
        with pytest.raises(NotOwner) as caught:
            await transfer(url, "doc:1", "doc:2", source="docs-2")
        assert code_for(caught.value) == REFUSED
        with pytest.raises(InstanceNotFound):
            await transfer(url, "doc:1", to="docs-9")
        assert sorted(owner.resources) == ["doc:1", "doc:2", "doc:3"]
        assert not heir.resources


async def test_with_partial_it_says_of_the_others_what_is_in_the_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_pair() as (url, _, heir, _client):
        assert await transfer(url, "doc:9", "doc:1", partial=True) == 3
        await wait_owns(heir, "doc:1")
        printed = capsys.readouterr()
        assert printed.out == "transferred doc:1 to docs-2\n"
        assert printed.err == "resroute: 'doc:9' stays where it is: nobody owns it\n"
        assert await transfer(url, "doc:1", partial=True) == 2
        printed = capsys.readouterr()
        assert (printed.out, "owns it already" in printed.err) == ("", True)


async def test_who_is_no_administrator_moves_nothing() -> None:
    async with open_pair(Settings()) as (url, owner, _, client):
        session_id = (await client.info()).session_id
        for attempt in (
            transfer(url, "doc:1"),
            drain(url),
            kick(url, session_id),
            kick(url, instance_id="docs-1"),
        ):
            with pytest.raises(Forbidden) as caught:
                await attempt
            assert code_for(caught.value) == REFUSED
        assert sorted(owner.resources) == ["doc:1", "doc:2", "doc:3"]


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_an_instance_that_drains_owns_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, owner, heir, client):
        assert await drain(url, batch_size=2) == 0
        await wait_owns(heir, "doc:1", "doc:2", "doc:3")
        await wait_owns(owner)
        printed = capsys.readouterr()
        assert printed.out == "drained docs-1: 3 handed over, 0 released\n"
        assert printed.err == "2 of 3\n"
        assert (await client.query_instances(instance_id="docs-1")).instances[0].status == "draining"
        assert await drain(url, "docs-2", as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["handed_over"], told["released"], told["in_flight"]) == (0, 3, 0)


async def test_a_drain_can_be_given_heirs_or_none_not_both() -> None:
    done = run("drain", "docs-1", "--to=docs-2", "--to-nobody")
    assert (done.returncode, "not both" in done.stderr) == (2, True)


async def test_what_is_drained_to_nobody_is_free_and_what_has_an_heir_goes_there() -> None:
    async with open_pair() as (url, owner, heir, _):
        async with open_program("drain", "docs-2", "--to=docs-1", f"--url={url}") as program:
            assert await program.wait_ended() == 0
            assert program.stdout == "drained docs-2: 0 handed over, 0 released\n"
        async with open_program("drain", "docs-1", "--to-nobody", "--deadline=5", f"--url={url}") as program:
            assert await program.wait_ended() == 0
            assert program.stdout == "drained docs-1: 0 handed over, 3 released\n"
        await wait_owns(owner)
        assert not heir.resources


async def test_a_drain_of_nobody_is_not_found() -> None:
    async with open_pair() as (url, *_):
        with pytest.raises(InstanceNotFound):
            await drain(url, "docs-9")


# --- rebalance ------------------------------------------------------------------------------------------------------


async def rebalance(
    url: str, *, max_moves: int | None = None, dry_run: bool = False, as_json: bool = False
) -> int:
    return await moving.rebalance_service(
        url, "documents", never(), by="count", max_moves=max_moves, dry_run=dry_run, as_json=as_json
    )


async def test_who_owns_nothing_gets_its_share(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, owner, heir, _):
        await owner.register("doc:4")
        assert await rebalance(url, dry_run=True, as_json=True) == 0
        planned = [move["resource_id"] for move in json.loads(capsys.readouterr().out)["moves"]]
        assert len(planned) == 2
        assert not heir.resources
        assert await rebalance(url, max_moves=1) == 0
        printed = capsys.readouterr()
        assert printed.out == f"moved {planned[0]} from docs-1 to docs-2\n"
        assert printed.err == "There is more to move: ask again.\n"
        assert await rebalance(url) == 0
        await wait_owns(heir, *planned)
        assert await rebalance(url) == 0
        assert capsys.readouterr().err == "There is nothing to even out.\n"


async def test_from_the_shell_it_says_what_it_would_do() -> None:
    async with open_pair() as (url, _, heir, _client):
        arguments = ["documents", "--by=count", "--max-moves=1", "--dry-run", f"--url={url}"]
        async with open_program("rebalance", *arguments) as program:
            assert await program.wait_ended() == 0
            assert program.stdout.startswith("would move doc:")
        assert not heir.resources


# --- kick -----------------------------------------------------------------------------------------------------------


async def test_who_is_kicked_is_gone_and_what_it_owned_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, _, heir, client):
        session_id = (await client.info()).session_id
        assert await kick(url, session_id) == 0
        assert capsys.readouterr().out == f"ended {session_id}\n"
        assert ((await client.wait_closed()).code, (await client.wait_closed()).reason) == (4010, "test")
        await heir.register("doc:1")
        with pytest.raises(SessionNotFound):
            await kick(url, session_id)


async def test_an_instance_is_kicked_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, _owner, _heir, client):
        session_id = (await client.info()).session_id
        assert await kick(url, instance_id="docs-1", as_json=True) == 0
        assert json.loads(capsys.readouterr().out) == {"ended": session_id, "instance_id": "docs-1"}
        assert (await client.wait_closed()).code == 4010
        with pytest.raises(InstanceNotFound):
            await kick(url, instance_id="docs-1")


def test_a_kick_needs_one_who_is_kicked() -> None:
    for arguments in ((), ("session-1", "--instance=docs-1")):
        done = run("kick", *arguments)
        assert (done.returncode, "End which?" in done.stderr) == (2, True)


async def test_a_command_without_a_router_says_so() -> None:
    for arguments in (("transfer", "a", "--to=b"), ("drain", "a"), ("rebalance", "a"), ("kick", "a")):
        async with open_program(*arguments, "--url=ws://127.0.0.1:9/") as program:
            assert await program.wait_ended() == 7
            assert program.stderr.count("\n") == 1


async def test_a_signal_leaves_the_rest_of_a_drain_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, owner, heir, _):
        await owner.bulk_register([f"page:{number}" for number in range(800)])
        codes: list[int] = []
        async with trio.open_nursery() as nursery:
            interruption = Interruption(nursery.cancel_scope)

            async def drain_slowly() -> None:
                codes.append(
                    await moving.drain_instance(
                        url,
                        "docs-1",
                        interruption,
                        hand_over_to=["docs-2"],
                        deadline_seconds=None,
                        batch_size=1,
                        as_json=False,
                    )
                )

            nursery.start_soon(drain_slowly)
            while not heir.resources:  # noqa: ASYNC110  # nothing tells of it sooner
                await trio.lowlevel.checkpoint()
            interruption.signal(signal.SIGINT)
        assert codes == [128 + signal.SIGINT]
        assert owner.resources and heir.resources
        assert "The rest stays with 'docs-1'" in capsys.readouterr().err
