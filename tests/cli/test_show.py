"""``resroute show``: all about one resource, for people and for programs."""

import json

import pytest

from resroute import open_client
from resroute.cli.one import show_resource
from resroute.settings import Settings
from tests.cli.running import never, open_program, open_router
from tests.cli.test_explain import answer


async def show(url: str, resource_id: str, *, as_json: bool = False) -> int:
    return await show_resource(url, resource_id, never(), as_json=as_json)


async def test_people_read_what_is_known_and_what_it_says_of_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metadata = {
        "resource_type": "document",
        "tags": ["draft", "urgent"],
        "attributes": {"pages": 3},
        "priority": 2,
        "ttl_seconds": 5000,
    }
    async with (
        open_router() as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1") as instance,
    ):
        epoch = (await instance.register("doc:1", metadata={"doc:1": metadata})).epochs["doc:1"]  # type: ignore[dict-item]
        await client.call("get", resource_id="doc:1")
        assert await show(url, "doc:1") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    facts, _, changes = printed.out.partition("\n\n")
    told = {line[:14].strip(): line[14:] for line in facts.splitlines()}
    assert told.pop("SINCE").endswith(" UTC, 0s ago")
    assert told == {
        "RESOURCE": "doc:1",
        "OWNER": "docs-1 of documents, healthy",
        "EPOCH": str(epoch),
        "EXPIRES": "in 83m",
        "CALLS": "1 ok, the last 0s ago",
        "WAITING": "0",
        "METADATA": "version 1, 0s old, first by docs-1",
        "TYPE": "document",
        "TAGS": "draft, urgent",
        "PRIORITY": "2",
        "TIME TO LIVE": "5000 s",
        "ATTRIBUTES": '{"pages":3}',
    }
    assert [line.split() for line in changes.splitlines()] == [
        ["WHEN", "EVENT", "CAUSE", "INSTANCE", "REVISION"],
        ["0s", "ago", "registered", "request", "docs-1", str(epoch)],
    ]


async def test_what_nobody_owns_is_not_found_and_its_past_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_router() as url, open_client(url) as client:
        async with client.open_instance("documents", answer, instance_id="docs-1") as instance:
            await instance.register("doc:1")
            await instance.release("doc:1")
        assert await show(url, "doc:1") == 3
        printed = capsys.readouterr()
        assert printed.err == "resroute: No instance owns resource 'doc:1'\n"
        assert [line.split()[2] for line in printed.out.splitlines()[1:]] == ["released", "registered"]
        assert await show(url, "doc:2") == 3
        assert capsys.readouterr().out == ""


async def test_programs_read_one_object_without_what_is_not_set(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        open_router() as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1") as instance,
    ):
        await instance.register("doc:1", metadata={"doc:1": {"attributes": {"kept": None}}})
        assert await show(url, "doc:1", as_json=True) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["resource_id"], shown["status"], shown["waiters"]) == ("doc:1", "owned", 0)
        assert shown["metadata"]["attributes"] == {"kept": None}, "what users say stays as it is"
        assert "ttl_seconds" not in shown["metadata"] and "expires_at" not in shown
        assert [change["event"] for change in shown["transitions"]] == ["registered"]
        assert await show(url, "doc:2", as_json=True) == 3
        printed = capsys.readouterr()
    unowned = json.loads(printed.out)
    del unowned["trace_id"]
    assert unowned == {
        "resource_id": "doc:2",
        "status": "unowned",
        "waiters": 0,
        "recent_calls": {},
        "transitions": [],
    }


async def test_what_a_terminal_would_obey_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        open_router() as url,
        open_client(url) as client,
        client.open_instance("documents", answer) as instance,
    ):
        await instance.register("doc:1", metadata={"doc:1": {"tags": ["\x1b[2J"], "resource_type": "a\nb"}})
        assert await show(url, "doc:1") == 0
    out = capsys.readouterr().out
    assert "\\x1b[2J" in out and "a\\nb" in out and "\x1b" not in out


async def test_the_commands_do_it() -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with (
        open_router(settings) as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1") as instance,
    ):
        await instance.register("doc:1")
        async with open_program("show", "doc:1", "--url", url) as program:
            assert await program.wait_ended() == 0
            assert program.stdout.startswith("RESOURCE  doc:1\nOWNER     docs-1 of documents, healthy\n")
        async with open_program("release", "doc:1", "--url", url) as program:
            assert await program.wait_ended() == 0
            assert (program.stdout, program.stderr) == ("released doc:1\n", "")
        assert instance.resources == {}
        async with open_program("release", "doc:1", "--url", url) as program:
            assert await program.wait_ended() == 3
            assert program.stderr == "resroute: No instance owns resource 'doc:1'\n"
        async with open_program("show", "no spaces", "--url", url) as program:
            assert await program.wait_ended() == 2
