"""The same commands at a router's admin API: they do and print what they do and print at its own port."""

import json
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from resroute import (
    CallTimeout,
    Client,
    ConnectionFailed,
    Instance,
    InstanceNotFound,
    InvalidParams,
    NotOwner,
    RemoteError,
    ResourceNotFound,
    SessionNotFound,
    VersionConflict,
    open_client,
)
from resroute.cli import exits, moving
from resroute.cli.calling import make_call
from resroute.cli.calls_at_work import print_calls
from resroute.cli.explaining import print_explanation
from resroute.cli.interrupts import Interruption
from resroute.cli.lists import Filters, print_list
from resroute.cli.numbers import print_statistics
from resroute.cli.one import show_resource
from resroute.cli.releasing import release_resources
from resroute.cli.remote.refusals import NoAdminApi, TokenRefused, TriesRefused
from resroute.cli.settings_in_force import print_settings
from resroute.cli.topping import show_top
from resroute.cli.updating import update_metadata
from resroute.client import Call
from resroute.settings import Settings
from tests.cli.running import never, open_both, open_program, run

TOKEN = "s3cr3t-t0ken-of-ada"


async def answer(call: Call) -> object:
    match call.method:
        case "fail":
            raise RemoteError(42, "not today", {"why": "rain"})
        case "hang":
            await trio.sleep_forever()
    return {"method": call.method, "params": call.params}


@asynccontextmanager
async def open_pair(
    *, token: str | None = None
) -> AsyncGenerator[tuple[str, str, Instance, Instance, Client]]:
    """A router's URL and that of its admin API; an owner of three resources and another; and the client of the first."""
    async with (
        open_both(token=token) as (url, admin_url),
        open_client(url) as client,
        open_client(url) as another,
        client.open_instance("documents", answer, instance_id="docs-1", priority=3) as owner,
        another.open_instance("documents", answer, instance_id="docs-2") as heir,
    ):
        await owner.register("doc:1", "doc:2", "doc/a+b@=:3")
        await owner.update("doc:1", {"resource_type": "page", "tags": ["draft", "e&u"], "priority": 2})
        await client.call("get", resource_id="doc:1")
        yield url, admin_url, owner, heir, client


LOOKS: tuple[Callable[[str, bool], Awaitable[int]], ...] = (
    lambda url, json: print_list("resources", url, Filters(), never(), as_json=json),
    lambda url, json: print_list("instances", url, Filters(), never(), as_json=json),
    lambda url, json: print_list(
        "resources",
        url,
        Filters(service_name="documents", tags=("draft", "e&u"), resource_type="page", prefix="doc:"),
        never(),
        as_json=json,
    ),
    lambda url, json: print_list(
        "resources",
        url,
        Filters(instance_id="docs-1", resource_ids=("doc/a+b@=:3", "doc:2"), max_page=1),
        never(),
        as_json=json,
    ),
    lambda url, json: print_list("instances", url, Filters(max_page=1), never(), as_json=json),
    lambda url, json: print_list("resources", url, Filters(limit=2), never(), as_json=json),
    lambda url, json: print_explanation(url, "doc/a+b@=:3", None, never(), as_json=json),
    lambda url, json: print_explanation(url, "doc:9", None, never(), as_json=json),
    lambda url, json: print_explanation(url, None, "documents", never(), as_json=json),
    lambda url, json: print_list("services", url, Filters(), never(), as_json=json),
    lambda url, json: print_list("services", url, Filters(service_name="nope"), never(), as_json=json),
    lambda url, json: print_list("busiest", url, Filters(limit=1), never(), as_json=json),
    lambda url, json: print_list("unowned", url, Filters(), never(), as_json=json),
    lambda url, json: show_resource(url, "doc:1", never(), as_json=json),
    lambda url, json: show_resource(url, "doc:9", never(), as_json=json),
)


def without_what_varies(printed: str) -> list[object]:
    """Lines, without the ids under which each request is logged."""
    lines: list[object] = []
    for line in printed.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            told.pop("trace_id", None)
            lines.append(told)
        else:
            lines.append(line)
    return lines


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("as_json", [False, True])
async def test_what_is_shown_is_the_same_whichever_way_it_was_fetched(
    look: Callable[[str, bool], Awaitable[int]], as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_pair() as (url, admin_url, *_):

        async def shown(way: str) -> tuple[int, list[object], str]:
            code = await look(way, as_json)
            printed = capsys.readouterr()
            return code, without_what_varies(printed.out), printed.err

        while True:  # a second may go by in between, and a Ping
            before, by_api, after = [await shown(way) for way in (url, admin_url, url)]
            if before == after:
                break
    assert by_api == before
    assert before[1] or before[2] or as_json


async def test_a_router_is_told_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (url, admin_url, *_):
        for way in (url, admin_url):
            assert await print_statistics(way, never(), as_json=False) == 0
            printed = capsys.readouterr().out
            assert [line.split() for line in printed.splitlines()][2:] == [
                ["RESOURCES", "3"],
                ["IN", "FLIGHT", "0"],
                [],
                ["SERVICE", "INSTANCES", "RESOURCES", "IN", "FLIGHT", "CALLS", "ERRORS", "P50", "P99"],
                ["documents", "2", "3", "0", "1", "none", *printed.split()[-4:]],
            ]
            assert await print_statistics(way, never(), as_json=True) == 0
            told = json.loads(capsys.readouterr().out)
            assert (told["resources"], told["services"]["documents"]["calls_total"]) == (3, 1)
            assert "trace_id" not in told


async def test_settings_in_force_are_shown_and_secrets_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, admin_url, *_more):
        assert await print_settings(admin_url, never(), as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["max_sessions"] == {"value": Settings().max_sessions, "changeable": False}
        assert told["log_level"]["changeable"]
        assert await print_settings(admin_url, never(), as_json=False) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["max_sessions", str(Settings().max_sessions), "at", "a", "restart"] in lines
        assert ["log_level", "info", "at", "SIGHUP"] in lines


async def test_the_calls_of_an_instance_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, admin_url, _owner, _heir, client):
        assert await print_calls(admin_url, "docs-1", never(), limit=None, as_json=False) == 0
        assert "no call that it has not answered" in capsys.readouterr().err
        async with trio.open_nursery() as nursery:
            for _number in range(3):
                nursery.start_soon(partial(client.call, "hang", resource_id="doc:1"))
            await wait_works_on(client, 3)
            assert await print_calls(admin_url, "docs-1", never(), limit=2, as_json=True) == 0
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [(it["method"], it["resource_id"], it["state"]) for it in told] == [
                ("hang", "doc:1", "sent")
            ] * 2
            assert await print_calls(admin_url, "docs-1", never(), limit=2, as_json=False) == 0
            printed = capsys.readouterr()
            assert printed.out.splitlines()[1].split()[:4] == ["hang", "doc:1", "at", "work"]
            assert "These are 2 of 3 calls." in printed.err
            nursery.cancel_scope.cancel()
        with pytest.raises(InstanceNotFound):
            await print_calls(admin_url, "docs-9", never(), limit=None, as_json=False)


async def test_top_counts_calls_in_between(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, admin_url, *_more):
        assert (
            await show_top(admin_url, never(), interval_seconds=1.5, count=2, as_json=True) == 0
        )  # so long that the connection of before is not used again
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["services"]["documents"]["instances"] for look in looks] == [2, 2]


# --- calls ----------------------------------------------------------------------------------------------------------


async def call(
    url: str,
    method: str,
    *,
    params: dict[str, object] | None = None,
    service_name: str | None = None,
    timeout_seconds: float | None = None,
    interruption: Interruption | None = None,
    token: str | None = None,
) -> int:
    return await make_call(
        url,
        method,
        params,
        resource_id="doc/a+b@=:3" if service_name is None else None,
        service_name=service_name,
        timeout_seconds=timeout_seconds,
        in_one_line=True,
        interruption=interruption or never(),
        token=token,
    )


async def test_a_call_goes_to_the_owner_and_its_result_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, admin_url, *_more):
        assert await call(admin_url, "get", params={"n": 2**70, "f": 0.5}) == 0
        assert await call(admin_url, "get", service_name="documents", timeout_seconds=20) == 0
    assert capsys.readouterr().out == (
        '{"method":"get","params":{"n":1180591620717411303424,"f":0.5}}\n{"method":"get","params":null}\n'
    )


async def test_errors_of_a_call_are_those_of_the_wire() -> None:
    async with open_pair() as (url, admin_url, *_):
        for way in (url, admin_url):
            with pytest.raises(RemoteError) as caught:
                await call(way, "fail")
            assert (caught.value.code, caught.value.data) == (42, {"why": "rain"})
            with pytest.raises(CallTimeout):
                await call(way, "hang", timeout_seconds=0.3)
            with pytest.raises(InvalidParams):
                await call(way, "rpc.no")


async def wait_works_on(client: Client, calls: int) -> None:
    """Wait until the owner works on so many calls."""
    while True:
        page = await client.query_instances(instance_id="docs-1")
        if page.instances[0].in_flight == calls:
            return
        await trio.sleep(0.01)


async def test_a_signal_hangs_up_and_cancels_the_call() -> None:
    async with open_pair() as (_, admin_url, _owner, _heir, client):
        codes: list[int] = []
        async with trio.open_nursery() as nursery:
            interruption = Interruption(nursery.cancel_scope)

            async def hang() -> None:
                codes.append(await call(admin_url, "hang", interruption=interruption))

            nursery.start_soon(hang)
            await wait_works_on(client, 1)
            interruption.signal(signal.SIGINT)
            await wait_works_on(client, 0)
        assert codes == [128 + signal.SIGINT]


# --- what administrators do -----------------------------------------------------------------------------------------


async def transfer(url: str, *names: str, source: str | None = None, partial: bool = False) -> int:
    return await moving.transfer_resources(
        url, names, never(), to="docs-2", source=source, reason="test", partial=partial, as_json=False
    )


async def wait_owns(instance: Instance, *resource_ids: str) -> None:
    while sorted(instance.resources) != sorted(resource_ids):  # noqa: ASYNC110  # nothing tells of its own doings
        await trio.sleep(0.005)


async def test_resources_are_transferred_and_released(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, url, owner, heir, _client):
        assert await transfer(url, "doc:1", "doc/a+b@=:3") == 0
        await wait_owns(heir, "doc:1", "doc/a+b@=:3")
        with pytest.raises(NotOwner):
            await transfer(url, "doc:1", source="docs-1")
        assert await transfer(url, "doc:2", "doc:9", partial=True) == exits.NOT_FOUND
        assert "'doc:9' stays where it is: nobody owns it" in capsys.readouterr().err
        await wait_owns(owner)
        with pytest.raises(ResourceNotFound):
            await release_resources(url, ["doc:1", "doc:9"], never(), partial=False, as_json=False)
        assert await release_resources(url, ["doc/a+b@=:3"], never(), partial=False, as_json=False) == 0
        assert capsys.readouterr().out == "released doc/a+b@=:3\n"
        await wait_owns(heir, "doc:1", "doc:2")


async def test_metadata_is_replaced_merged_and_not_overwritten_unseen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_pair() as (url, admin_url, _owner, _heir, client):
        for number, way in enumerate((url, admin_url)):
            new = partial(update_metadata, way, "doc:1", interruption=never(), as_json=False)
            version = 1 + 2 * number
            assert await new(metadata={"tags": ["x"]}, merge=False, expected_version=version) == 0
            assert capsys.readouterr().out == f"updated doc:1: version {version + 1}\n"
            assert await new(metadata={"priority": 5}, merge=True, expected_version=None) == 0
            with pytest.raises(VersionConflict) as caught:
                await new(metadata={"tags": []}, merge=False, expected_version=version)
            assert exits.code_for(caught.value) == exits.CONFLICT
            with pytest.raises(InvalidParams, match="priority"):
                await new(metadata={"priority": "high"}, merge=False, expected_version=None)
            with pytest.raises(ResourceNotFound):
                await update_metadata(
                    way, "doc:9", {}, never(), merge=False, expected_version=None, as_json=False
                )
            [info] = (await client.query_resources(resource_ids=["doc:1"])).resources
            assert info.metadata is not None
            assert (info.metadata.tags, info.metadata.priority) == (("x",), 5)
            capsys.readouterr()


async def test_an_instance_is_drained_and_a_service_rebalanced(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, url, owner, heir, _client):
        assert (
            await moving.rebalance_service(
                url, "documents", never(), by="count", max_moves=1, dry_run=False, as_json=False
            )
            == 0
        )
        assert capsys.readouterr().out.startswith("moved doc")
        assert (
            await moving.drain_instance(
                url,
                "docs-1",
                never(),
                hand_over_to=["docs-2"],
                deadline_seconds=20,
                batch_size=1,
                as_json=False,
            )
            == 0
        )
        assert capsys.readouterr().out == "drained docs-1: 2 handed over, 0 released\n"
        await wait_owns(heir, "doc:1", "doc:2", "doc/a+b@=:3")
        await wait_owns(owner)
        with pytest.raises(InstanceNotFound):
            await moving.drain_instance(
                url,
                "a/../b",
                never(),
                hand_over_to="service",
                deadline_seconds=None,
                batch_size=1,
                as_json=False,
            )


async def test_a_session_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as (_, url, _owner, _heir, client):
        kick = moving.end_session
        assert (
            await kick(url, never(), session_id=None, instance_id="docs-1", reason="test", as_json=False) == 0
        )
        assert ((await client.wait_closed()).code, (await client.wait_closed()).reason) == (4010, "test")
        assert capsys.readouterr().out.startswith("ended session-")
        with pytest.raises(SessionNotFound):
            await kick(url, never(), session_id="s", instance_id=None, reason="test", as_json=False)
        with pytest.raises(InvalidParams, match="cannot be named"):
            await kick(url, never(), session_id="..", instance_id=None, reason="test", as_json=False)


# --- who gets in ----------------------------------------------------------------------------------------------------


async def ls(url: str, token: str | None) -> int:
    return await print_list("instances", url, Filters(), never(), as_json=True, token=token)


async def test_a_token_lets_in_and_another_one_or_none_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair(token=TOKEN) as (_, url, *_more):
        assert await ls(url, TOKEN) == 0
        with pytest.raises(TokenRefused, match="--token-file") as without:
            await ls(url, None)
        with pytest.raises(TokenRefused, match="does not know this token"):
            await ls(url, "another-token-of-ada")
        assert exits.code_for(without.value) == exits.REFUSED
        with pytest.raises(TriesRefused, match=r"try again in \d+ s") as throttled:
            for _attempt in range(10):
                with pytest.raises(TokenRefused):
                    await ls(url, "another-token-of-ada")
        assert exits.code_for(throttled.value) == exits.REFUSED
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err


async def test_the_routers_own_port_is_no_admin_api_and_the_other_way_round() -> None:
    async with open_both() as (url, admin_url):
        with pytest.raises(NoAdminApi, match="port for WebSocket") as caught:
            await ls(url.replace("ws:", "http:"), None)
        assert exits.code_for(caught.value) == exits.NO_CONNECTION
        with pytest.raises(NoAdminApi, match=r"does not offer GET /api/v1/instances.* not at this path"):
            await ls(f"{admin_url}elsewhere/", None)
        with pytest.raises(ConnectionFailed, match="does not speak it"):
            await ls(admin_url.replace("http:", "https:"), None)
    with pytest.raises(ConnectionFailed, match="refused"):
        await ls("http://127.0.0.1:1/", None)


# --- as a process ---------------------------------------------------------------------------------------------------


async def test_a_profile_leads_to_the_admin_api_with_its_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    async with open_pair(token=TOKEN) as (_, url, *_more):
        (tmp_path / "profiles.toml").write_text(f'[production]\nurl = "{url}"\ntoken_file = "token"\n')
        environ = {"RESROUTE_PROFILES": str(tmp_path / "profiles.toml")}
        for arguments, code, said in (
            (("ls", "--profile=production", "--json"), 0, '"doc:1"'),
            (("call", "get", "--resource=doc:1", "--profile=production"), 0, '"method": "get"'),
            (("ls", f"--url={url}"), 8, "administrators only"),
            (("ls", f"--url={url}", f"--token-file={tmp_path / 'token'}"), 0, "docs-1"),
            (("hold", "a", "--service=a", "--profile=production"), 2, "this needs the router's own port"),
        ):
            async with open_program(*arguments, **environ) as program:
                assert await program.wait_ended() == code, program.stderr
                assert said in program.stdout + program.stderr
                assert TOKEN not in program.stdout + program.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("ls", "--url=ftp://a/"),
            "'ftp://a/' is no URL of a router: it begins with ws://, wss://, http:// or",
        ),
        (("ls", "--url=http://a/?b=c"), "'http://a/?b=c' has a query"),
        (("ls", "--url=http:///"), "'http:///' is no URL of a router"),
        (("ls", "--url=https://ada:secret@a/"), "a router's URL has no user and no fragment"),
        (
            ("hold", "a", "--service=a", "--url=https://a/"),
            "'https://a/' leads to an admin API, and this needs",
        ),
    ],
)
def test_a_url_that_cannot_be_is_a_mistake(arguments: tuple[str, ...], line: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"resroute: {line}")
    assert "secret" not in done.stderr
