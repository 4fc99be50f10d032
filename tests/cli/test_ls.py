"""``resroute ls``: tables, JSON lines, pages."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import trio

from resroute import Client, open_client
from resroute.cli.lists import Filters, print_list
from resroute.errors import ConnectionFailed
from resroute.settings import Settings
from tests.cli.running import command, environment, never, open_program, open_router, run


def answer(_call: object) -> None:
    pass


@asynccontextmanager
async def open_owners(count: int = 2, *, said: bool = False) -> AsyncGenerator[tuple[str, Client]]:
    """A router, an instance of ``documents`` that owns ``doc:N``, and one of ``images`` that owns ``image:1``."""
    async with (
        open_router(Settings(max_resources_per_instance=20_000, max_bulk_items=20_000)) as url,
        open_client(url) as client,
        open_client(url) as other,
        client.open_instance("documents", answer, instance_id="docs-1", priority=3) as documents,
        other.open_instance("images", answer, instance_id="images-1") as images,
    ):
        await documents.register(*(f"doc:{number:04d}" for number in range(count)))
        await images.register("image:1")
        if said:
            await documents.update("doc:0001", {"resource_type": "page", "tags": ["draft", "eu"]})
            await images.update("image:1", {"resource_type": "page", "tags": ["eu"]})
        yield url, client


async def ls(
    what: Literal["resources", "instances"],
    url: str,
    filters: Filters = Filters(),  # noqa: B008  # frozen
    *,
    as_json: bool = False,
) -> None:
    assert await print_list(what, url, filters, never(), as_json=as_json) == 0


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def test_resources_are_a_table_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners() as (url, client):
        await client.call("get", resource_id="doc:0001")
        await ls("resources", url)
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["RESOURCE", "OWNER", "SERVICE", "STATUS", "AGE", "CALLS", "LAST", "CALL"],
        ["doc:0000", "docs-1", "documents", "healthy", "0s", "0", "-"],
        ["doc:0001", "docs-1", "documents", "healthy", "0s", "1", "0s"],
        ["image:1", "images-1", "images", "healthy", "0s", "0", "-"],
    ]
    assert printed.err == ""


async def test_instances_are_a_table_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners() as (url, _):
        await ls("instances", url)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["INSTANCE", "SERVICE", "STATUS", "AGE", "RESOURCES", "IN", "FLIGHT", "PRIORITY", "LATENCY"],
        ["docs-1", "documents", "healthy", "0s", "2", "0", "3", "-"],
        ["images-1", "images", "healthy", "0s", "1", "0", "0", "-"],
    ]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(service_name="images"), ["image:1"]),
        (Filters(instance_id="docs-1"), ["doc:0000", "doc:0001"]),
        (Filters(resource_ids=("image:1", "doc:0001", "nope")), ["doc:0001", "image:1"]),
        (Filters(service_name="images", instance_id="docs-1"), []),
        (Filters(limit=1), ["doc:0000"]),
        (Filters(prefix="doc:"), ["doc:0000", "doc:0001"]),
        (Filters(resource_type="page"), ["doc:0001", "image:1"]),
        (Filters(tags=("eu", "draft")), ["doc:0001"]),
        (Filters(tags=("eu",), prefix="im", resource_type="page", service_name="images"), ["image:1"]),
        (Filters(tags=("nope",)), []),
        (Filters(resource_ids=("image:1", "image:1")), ["image:1"]),
    ],
)
async def test_filters_leave_out(
    filters: Filters, ids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_owners(said=True) as (url, _):
        await ls("resources", url, filters, as_json=True)
    assert [info["resource_id"] for info in objects(capsys.readouterr().out)] == ids


async def test_a_line_of_json_has_what_the_router_says_and_nothing_that_is_not_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_owners(1) as (url, _):
        await ls("resources", url, Filters(service_name="documents"), as_json=True)
        await ls("instances", url, Filters(service_name="documents"), as_json=True)
    resource, instance = objects(capsys.readouterr().out)
    assert resource.keys() == {
        "resource_id",
        "owner_instance_id",
        "service_name",
        "registered_at",
        "epoch",
        "is_healthy",
        "calls_total",
    }
    assert resource["registered_at"].endswith("Z")
    assert (instance["instance_id"], instance["resources"], instance["priority"]) == ("docs-1", 1, 3)


@pytest.mark.parametrize("limit", [None, 2000, 2001])
async def test_it_goes_through_all_pages(limit: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners(2500) as (url, _):
        await ls("resources", url, Filters(limit=limit), as_json=True)
    ids = [info["resource_id"] for info in objects(capsys.readouterr().out)]
    assert ids == [*(f"doc:{number:04d}" for number in range(2500)), "image:1"][:limit]


async def test_instances_have_pages_too(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners() as (url, _):
        await ls("instances", url, Filters(max_page=1), as_json=True)
    assert [info["instance_id"] for info in objects(capsys.readouterr().out)] == ["docs-1", "images-1"]


async def test_people_are_told_what_they_do_not_see(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners() as (url, _):
        await ls("resources", url, Filters(limit=2))
        assert capsys.readouterr().err == "These are 2 of 3 resources.\n"
        await ls("resources", url, Filters(service_name="nope"))
        assert capsys.readouterr() == ("", "There are no resources, or none that match.\n")
        await ls("resources", url, Filters(service_name="nope"), as_json=True)
        assert capsys.readouterr() == ("", "")


async def test_without_a_router_there_is_an_error() -> None:
    with pytest.raises(ConnectionFailed):
        await ls("resources", "ws://127.0.0.1:1/")


# --- as a process -------------------------------------------------------------------------------------------


async def test_the_process_lists_resources_unless_told_otherwise() -> None:
    async with open_owners() as (url, _):
        async with open_program("ls", RESROUTE_URL=url) as program:
            assert await program.wait_ended() == 0
            assert program.stdout.startswith("RESOURCE  OWNER")
        async with open_program("ls", "instances", f"--url={url}", "--json") as program:
            assert await program.wait_ended() == 0
            assert len(objects(program.stdout)) == 2


async def test_the_process_takes_every_filter() -> None:
    async with open_owners(said=True) as (url, _):
        for arguments, lines in (
            (("--type=page", "--tag=eu"), 2),
            (("--tag=eu", "--tag=draft", "--prefix=doc:"), 1),
            (("--id=image:1", "--resource=doc:0001", "--service=images", "--instance=images-1"), 1),
            (("--limit=2",), 2),
        ):
            async with open_program("ls", f"--url={url}", "--json", *arguments) as program:
                assert await program.wait_ended() == 0
                assert len(objects(program.stdout)) == lines, arguments


async def test_a_count_that_is_a_lower_bound_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owners(10_001) as (url, _):
        await ls("resources", url, Filters(limit=1))
        assert "of at least 1" in capsys.readouterr().err
        await ls("resources", url, Filters(limit=1, service_name="images"))
        assert capsys.readouterr().err == ""


async def test_a_reader_may_stop_reading() -> None:
    async with open_owners(2500) as (url, _):
        done = await trio.run_process(
            ["/bin/bash", "-c", 'set -o pipefail; "$@" | head -n 1', "bash", *command("ls", "--json")],
            env=environment(RESROUTE_URL=url),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode in (0, 141)
    assert objects(done.stdout.decode())[0]["resource_id"] == "doc:0000"
    assert done.stderr == b""


async def test_ctrl_c_ends_it_while_the_router_is_silent() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with open_program("ls", f"--url={url}") as program, await listener.accept():
            program.signal(signal.SIGINT)
            assert await program.wait_ended() == 130
            assert (program.stdout, program.stderr) == ("", "")


@pytest.mark.parametrize("option", ["--resource", "--type", "--tag", "--prefix"])
def test_a_filter_that_does_not_fit_is_a_mistake(option: str) -> None:
    done = run("ls", "instances", f"{option}=doc:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"resroute: {option} goes with resources, not with instances. Try 'resroute ls --help'.\n"
    )
