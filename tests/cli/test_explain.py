"""``resroute explain``: what a call would meet, for people and for programs."""

import json
import re
import signal
from contextlib import suppress
from functools import partial

import pytest
import trio

from resroute import RemoteError, open_client
from resroute.cli import explaining
from resroute.cli.columns import health
from resroute.cli.explaining import print_explanation
from resroute.router.explaining import MAX_CANDIDATES
from tests.cli.running import never, open_program, open_router, run
from tests.processes.independent import open_session


def answer(call: object) -> None:
    if getattr(call, "method", "") == "fail":
        raise RemoteError(1, "no")


async def explain(
    url: str, resource_id: str | None = None, service_name: str | None = None, *, as_json: bool = False
) -> None:
    assert await print_explanation(url, resource_id, service_name, never(), as_json=as_json) == 0


async def test_people_read_who_owns_a_resource_and_how_calls_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with (
        open_router() as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1", priority=3) as instance,
    ):
        await instance.register("doc:1")
        await client.call("get", resource_id="doc:1")
        with pytest.raises(RemoteError):
            await client.call("fail", resource_id="doc:1")
        epoch = (await client.explain(resource_id="doc:1")).transitions[0].revision
        await explain(url, "doc:1")
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[:3] == [
        f"doc:1: docs-1 of documents has owned it for 0s, epoch {epoch}.",
        "A call now goes to docs-1.",
        "Calls so far: 1 ok, 1 error.",
    ]
    assert [line.split() for line in lines[4:6]] == [
        ["CANDIDATE", "SERVICE", "STATUS", "TAKES", "CALLS", "PRIORITY", "IN", "FLIGHT", "LATENCY"],
        ["docs-1", "documents", "healthy", "yes", "3", "0", "-"],
    ]
    assert [line.split() for line in lines[7:]] == [
        ["WHEN", "EVENT", "CAUSE", "INSTANCE", "REVISION"],
        ["0s", "ago", "registered", "request", "docs-1", str(epoch)],
    ]


async def test_people_read_why_a_call_would_fail_and_the_last_change_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_router() as url, open_client(url) as client:
        async with client.open_instance("documents", answer, instance_id="docs-1") as instance:
            await instance.register("doc:1")
            await instance.release("doc:1")
            await explain(url, "doc:1")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "doc:1: unowned."
        assert lines[1].startswith("A call now fails: 404 resource_not_found: ")
        assert lines[2] == "Calls so far: none."
        assert [line.split()[2] for line in lines[5:]] == ["released", "registered"]
        await explain(url, service_name="nobody")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "service nobody: no instance is here."
    assert lines[1].startswith("A call now fails: 404 service_not_found: ")


class _Cut(Exception):
    """The connection is to break."""


async def test_people_read_that_the_owner_was_cut_off_and_may_come_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_router() as url, open_client(url) as client:
        with suppress(_Cut):
            async with open_session(url) as session:
                await session.become("documents", "doc:1", instance_id="docs-1", resume_grace_seconds=60)
                raise _Cut
        status = ""
        while status != "suspended":
            status = (await client.explain(resource_id="doc:1")).status
        await explain(url, "doc:1")
        lines = capsys.readouterr().out.splitlines()
        assert re.search(r"It was cut off, and may come back until \d\d:\d\d:\d\d UTC\.$", lines[0])
        assert lines[1].startswith("A call now fails: 503 unavailable: ")
        [candidate] = [line.split() for line in lines if line.startswith("docs-1")]
        assert candidate[:5] == ["docs-1", "documents", "suspended", "no:", "suspended"]
        await explain(url, service_name="documents")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "service documents: no instance is here; 1 cut off, and may come back."
        page = await client.query_resources(resource_ids=["doc:1"])
        assert [health(info) for info in page.resources] == ["suspended"]


async def test_people_read_which_instances_take_calls_to_a_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    called = trio.Event()

    async def hang(_call: object) -> None:
        called.set()
        await trio.sleep_forever()

    async with open_router() as url, open_client(url) as client, open_client(url) as other:
        async with (
            client.open_instance("documents", hang, instance_id="docs-1", max_concurrency=1),
            other.open_instance("documents", answer, instance_id="docs-2", priority=-1),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(partial(client.call, "get", service_name="documents"))
            await called.wait()
            await explain(url, service_name="documents")
            nursery.cancel_scope.cancel()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["service documents: 2 instances are here.", "A call now goes to docs-2."]
    assert lines[5].split()[:5] == ["docs-1", "documents", "healthy", "no:", "max_concurrency"]
    assert lines[6].split()[:4] == ["docs-2", "documents", "healthy", "yes"]


async def test_people_read_how_many_instances_a_service_has(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_router() as url, open_client(url) as client:
        await explain(url, service_name="documents")
        async with client.open_instance("documents", answer):
            await explain(url, service_name="documents")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("service ")]
    assert told == ["service documents: no instance is here.", "service documents: 1 instance is here."]


def test_as_many_instances_as_a_router_names_may_be_more() -> None:
    assert explaining.MAX_CANDIDATES == MAX_CANDIDATES


async def test_programs_read_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        open_router() as url,
        open_client(url) as client,
        client.open_instance("documents", answer, instance_id="docs-1") as instance,
    ):
        await instance.register("doc:1")
        await explain(url, "doc:1", as_json=True)
    [line] = capsys.readouterr().out.splitlines()
    explanation = json.loads(line)
    assert explanation["status"] == "owned"
    assert explanation["owner"]["owner_instance_id"] == "docs-1"
    assert explanation["would"]["deliver_to"] == "docs-1"
    assert explanation["transitions"][0]["event"] == "registered"


# --- as a process -------------------------------------------------------------------------------------------


async def test_the_process_explains_a_resource_and_a_service() -> None:
    async with open_router() as url:
        async with open_program("explain", "doc:1", RESROUTE_URL=url) as program:
            assert await program.wait_ended() == 0
            assert program.stdout.startswith("doc:1: unowned.\n")
        async with open_program("explain", "--service=documents", f"--url={url}", "--json") as program:
            assert await program.wait_ended() == 0
            assert json.loads(program.stdout)["would"]["error"]["data"]["type"] == "service_not_found"
            assert "null" not in program.stdout, "what is not set is left out, inside as well"
        async with open_program("explain", "/doc/", f"--url={url}") as program:
            assert await program.wait_ended() == 2
            assert program.stdout == ""
            assert program.stderr.startswith("resroute: Invalid params: ")


async def test_ctrl_c_ends_it_while_the_router_is_silent() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with open_program("explain", "doc:1", f"--url={url}") as program, await listener.accept():
            program.signal(signal.SIGINT)
            assert await program.wait_ended() == 130


def test_without_a_name_there_is_nothing_to_explain() -> None:
    done = run("explain")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("resroute: Explain what? Give an ID, --service or both. Try ")


def test_without_a_router_it_says_so() -> None:
    done = run("explain", "doc:1", "--url=ws://127.0.0.1:1/")
    assert done.returncode == 7
    assert "Cannot connect to ws://127.0.0.1:1/" in done.stderr
