"""The API of administrators, over a live port."""

from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing

from resroute.admin.routes import MAX_IDS
from resroute.settings import Settings, flatten
from tests.admin.asking import open_place

HOSTILE = [
    "",
    "/",
    "/a",
    "a/",
    "ä",
    "a b",
    "\0",
    "a" * 257,
    "a\nb",
    "<script>",
    "a,b",
    "%",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin1"),
]


# --- reading ----------------------------------------------------------------------------------------------


async def test_instances_and_resources_are_listed_as_the_router_lists_them() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1", "user:2")
        await place.instance("bob", "user:3", service="users")
        instances = await place.client.get("/api/v1/instances")
        assert [it["instance_id"] for it in instances["instances"]] == ["ada", "bob"]
        assert instances["instances"][0]["remote_address"] == "memory"  # which administrators are told
        assert instances["trace_id"]
        page = await place.client.get("/api/v1/resources?service_name=rooms&limit=1")
        assert [it["resource_id"] for it in page["resources"]] == ["user:1"]
        assert (page["total_count"], page["has_more"]) == (2, True)
        rest = await place.client.get(f"/api/v1/resources?service_name=rooms&cursor={page['next_cursor']}")
        assert [it["resource_id"] for it in rest["resources"]] == ["user:2"]


async def test_a_list_in_a_query_is_a_parameter_that_is_there_several_times() -> None:
    async with open_place() as place:
        owner = await place.instance("ada", "a", "b", "c")
        for name, tags in (("a", ["x"]), ("b", ["x", "y"])):
            await owner.ask("resource.update", resource_id=name, metadata={"tags": tags})
        page = await place.client.get("/api/v1/resources?tags=x&tags=y")
        assert [it["resource_id"] for it in page["resources"]] == ["b"]
        page = await place.client.get(
            "/api/v1/resources?resource_ids=a&resource_ids=c&include_metadata=false"
        )
        assert [it["resource_id"] for it in page["resources"]] == ["a", "c"]
        assert "metadata" not in page["resources"][0]


@pytest.mark.parametrize("name", ["user:1", "a/b", "a//b", "transfer", "release", "a/drain", "-._~:@+="])
async def test_any_name_can_stand_in_a_path(name: str) -> None:
    async with open_place() as place:
        await place.instance(name, name)
        told = await place.client.get(f"/api/v1/resources/{quote(name, safe='')}")
        assert told["resource"]["resource_id"] == name
        assert told["history"][-1]["event"] == "registered"
        assert told["waiters"] == 0
        instance = await place.client.get(f"/api/v1/instances/{quote(name, safe='')}")
        assert instance["instance"]["instance_id"] == name


async def test_what_is_not_there_is_404_under_its_own_type() -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", "/api/v1/resources/user:1")
        assert answer.problem_type() == (404, "resource_not_found")
        assert answer.problem()["resource_id"] == "user:1"
        assert answer.problem()["code"] == 404
        answer = await place.client.ask("GET", "/api/v1/instances/ada")
        assert answer.problem_type() == (404, "instance_not_found")
        answer = await place.client.ask("POST", "/api/v1/sessions/nobody/end", {"reason": "test"})
        assert answer.problem_type() == (404, "session_not_found")


async def test_statistics_explanations_and_rankings_are_the_routers_own() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        await place.client.ask("POST", "/api/v1/call", {"resource_id": "user:1", "method": "echo"})
        statistics = await place.client.get("/api/v1/statistics")
        assert statistics["services"]["rooms"]["calls_total"] == 1
        explained = await place.client.get("/api/v1/explain?resource_id=user:1")
        assert explained["would"] == {"deliver_to": "ada"}
        top = await place.client.get("/api/v1/top?what=busiest&limit=5")
        assert [it["resource_id"] for it in top["entries"]] == ["user:1"]


async def test_settings_in_force_are_told() -> None:
    async with open_place(Settings(port=1234, drain_seconds=7)) as place:
        told = await place.client.get("/api/v1/settings")
        assert told["settings"]["port"] == 1234
        assert told["settings"]["heartbeat.interval_seconds"] == 10.0
        assert "drain_seconds" in told["changeable"]
        place.router.change_settings(Settings(drain_seconds=8, log_level="debug"))
        settings = (await place.client.get("/api/v1/settings"))["settings"]
        assert (settings["drain_seconds"], settings["log_level"]) == (8, "debug")


# --- changing ---------------------------------------------------------------------------------------------


async def test_what_is_secret_in_an_address_is_not_told() -> None:
    settings = Settings(traces_endpoint="https://ada:pa:s@s@traces.example:4318/v1/traces?a=b@c")
    async with open_place(settings) as place:
        shown = "https://********@traces.example:4318/v1/traces?********"
        told = await place.client.get("/api/v1/settings")
        assert told["settings"]["traces_endpoint"] == shown
        page = (await place.client.ask("GET", "/settings")).text
        assert shown in page
        assert "pa:s" not in page and "b@c" not in page
        # and a change of it is one all the same
        for changed in (
            "https://ada:other@traces.example:4318/v1/traces?a=b@c",
            "https://ada:pa:s@s@traces.example/?x",
        ):
            other = Settings(traces_endpoint=changed)
            assert flatten(other)["traces_endpoint"] != flatten(settings)["traces_endpoint"]


async def test_resources_are_handed_over_and_both_sides_are_told() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "user:1", "user:2")
        bob = await place.instance("bob")
        told = await place.client.ask(
            "POST",
            "/api/v1/resources/transfer",
            {
                "resource_ids": ["user:1"],
                "from_instance_id": "ada",
                "to_instance_id": "bob",
                "reason": "less to do there",
            },
        )
        assert told.result()["transferred"] == ["user:1"]
        lost = await ada.wait_heard("resource.lost")
        assert lost["params"]["resource_ids"] == ["user:1"]
        acquired = await bob.wait_heard("resource.acquired")
        assert acquired["params"]["transfer_id"] == told.result()["transfer_id"]


async def test_resources_are_taken_away_one_or_many_at_a_time() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "a/b", "c", "d")
        assert (await place.client.ask("DELETE", "/api/v1/resources/a%2Fb")).result()["released"] == ["a/b"]
        lost = await ada.wait_heard("resource.lost")
        assert lost["params"]["cause"] == "released_by_admin"
        told = await place.client.ask("POST", "/api/v1/resources/release", {"resource_ids": ["c", "d"]})
        assert told.result()["released"] == ["c", "d"]
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 0
        answer = await place.client.ask("DELETE", "/api/v1/resources/c")
        assert answer.problem_type() == (404, "resource_not_found")


@pytest.mark.parametrize("path", ["release", "transfer"])
async def test_more_resources_than_one_request_may_name_are_refused_and_stay(path: str) -> None:
    ids = [f"r:{n}" for n in range(MAX_IDS + 1)]
    async with open_place() as place:
        await place.instance("ada", *ids)
        await place.instance("bob")
        move = {"from_instance_id": "ada", "to_instance_id": "bob", "reason": "a test"}
        more = move if path == "transfer" else {}
        answer = await place.client.ask("POST", f"/api/v1/resources/{path}", {"resource_ids": ids, **more})
        assert answer.problem_type() == (400, "invalid_params")
        assert answer.problem()["errors"][0]["path"] == "resource_ids"
        assert (await place.client.get("/api/v1/resources?instance_id=ada"))["total_count"] == MAX_IDS + 1
        some = {"resource_ids": ids[1:], **more}
        assert (await place.client.ask("POST", f"/api/v1/resources/{path}", some)).status == 200
        assert (await place.client.get("/api/v1/resources?instance_id=ada"))["total_count"] == 1


async def test_metadata_that_somebody_else_has_changed_is_not_overwritten() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        path = "/api/v1/resources/user:1"
        change = {"metadata": {"tags": ["x"], "attributes": {"n": 12345678901234567}}, "expected_version": 0}
        told = (await place.client.ask("PATCH", path, change)).result()
        assert told["resource"]["metadata"]["version"] == 1
        assert told["resource"]["metadata"]["attributes"] == {"n": 12345678901234567}
        answer = await place.client.ask("PATCH", path, change)
        assert answer.problem_type() == (409, "version_conflict")
        assert (answer.problem()["expected_version"], answer.problem()["current_version"]) == (0, 1)


async def test_an_instance_is_drained_and_a_session_ended() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1", "user:2")
        await place.instance("bob")
        told = await place.client.ask("POST", "/api/v1/instances/ada/drain", {"hand_over_to": "service"})
        assert told.result()["handed_over"] == 2
        assert (await place.client.get("/api/v1/instances/ada"))["instance"]["status"] == "draining"
        session_id = (await place.client.get("/api/v1/instances/bob"))["instance"]["session_id"]
        told = await place.client.ask("POST", f"/api/v1/sessions/{session_id}/end", {"reason": "test"})
        assert told.status == 200
        assert (await place.client.ask("GET", "/api/v1/instances/bob")).status == 404


# --- calls ------------------------------------------------------------------------------------------------


async def test_a_call_by_http_reaches_the_owner_and_its_answer_comes_back_as_it_is() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "user:1")
        params = b'{"big": 123456789012345678901234567890, "twice": 1, "twice": 2,\n "x": "\\u0000"}'
        body = b'{"resource_id": "user:1", "method": "echo", "params": %b}' % params
        answer = await place.client.ask(
            "POST", "/api/v1/call", body, headers={"Content-Type": "application/json; charset=utf-8"}
        )
        assert answer.result()["result"]["big"] == 123456789012345678901234567890
        meta = answer.result()["meta"]
        assert (meta["instance_id"], meta["resource_id"]) == ("ada", "user:1")
        assert meta["epoch"] and meta["trace_id"] and meta["duration_ms"] >= 0
        delivered = await ada.wait_heard("echo")
        assert delivered["meta"]["caller"]["subject"] == "anonymous"


async def test_an_error_of_the_callees_own_is_no_problem_of_the_routers() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        answer = await place.client.ask("POST", "/api/v1/call", {"resource_id": "user:1", "method": "fail"})
        assert answer.result()["error"] == {
            "code": 7,
            "message": "no",
            "data": {"type": "resource_not_found"},
        }
        answer = await place.client.ask("POST", "/api/v1/call", {"resource_id": "user:2", "method": "fail"})
        assert answer.problem_type() == (404, "resource_not_found")
        answer = await place.client.ask("POST", "/api/v1/call", {"service_name": "none", "method": "fail"})
        assert answer.problem_type() == (404, "service_not_found")


async def test_a_call_takes_its_time_and_no_more() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        call = {"resource_id": "user:1", "method": "wait", "timeout_seconds": 0.05}
        answer = await place.client.ask("POST", "/api/v1/call", call)
        assert answer.problem_type() == (504, "call_timeout")
        assert answer.problem()["delivery"] == "unknown"


async def test_who_hangs_up_cancels_its_call() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "user:1")
        call = {"resource_id": "user:1", "method": "wait"}
        async with await place.client.begin("POST", "/api/v1/call", call):
            delivered = await ada.wait_heard("wait")
        cancelled = await ada.wait_heard("$/cancelRequest")
        assert cancelled["params"]["id"] == delivered["id"]


async def test_a_request_belongs_to_the_trace_that_it_says() -> None:
    async with open_place() as place:
        ada = await place.instance("ada", "user:1")
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        trace_id = traceparent[3:35]
        told = await place.client.get("/api/v1/statistics", Traceparent=traceparent)
        assert told["trace_id"] == trace_id
        call = {"resource_id": "user:1", "method": "echo"}
        answer = await place.client.ask("POST", "/api/v1/call", call, headers={"Traceparent": traceparent})
        assert answer.result()["meta"]["trace_id"] == trace_id
        assert (await ada.wait_heard("echo"))["meta"]["trace_id"] == trace_id
        answer = await place.client.ask("GET", "/api/v1/nothing", headers={"Traceparent": traceparent})
        assert answer.problem()["trace_id"] == trace_id


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/resources?limit=0", "limit"),
        ("/resources?limit=1001", "limit"),
        ("/resources?limit=x", "limit"),
        ("/resources?limit=", "limit"),
        ("/resources?limit=1e999", "limit"),
        ("/resources?limit=" + "9" * 400, "limit"),
        ("/resources?limit=1.5", "limit"),
        ("/resources?limit=1&limit=2", "limit"),
        ("/resources?include_metadata=yes", "include_metadata"),
        ("/resources?cursor=forged", "cursor"),
        ("/resources?nothing=1", "nothing"),
        ("/resources?resource_ids=", "resource_ids.0"),
        ("/instances?offset=-1", "offset"),
        ("/instances/ada?limit=1", "limit"),
        ("/instances/ada?instance_id=bob", "instance_id"),
        ("/top", "what"),
        ("/top?what=all", "what"),
        ("/statistics?trace_id=%20", "trace_id"),
        ("/explain", ""),
    ],
)
async def test_a_wrong_parameter_is_named(path: str, wrong: str) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", "/api/v1" + path)
        assert answer.problem_type() == (400, "invalid_params")
        assert wrong in [error["path"] for error in answer.problem()["errors"]]


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_that_cannot_be_does_anything(name: str) -> None:
    async with open_place() as place:
        quoted = quote(name, safe="")
        for method, path in (
            ("GET", f"/api/v1/resources/{quoted}"),
            ("DELETE", f"/api/v1/resources/{quoted}"),
            ("GET", f"/api/v1/instances/{quoted}"),
            ("GET", f"/api/v1/resources?resource_ids={quoted}"),
            ("GET", f"/api/v1/explain?service_name={quoted}"),
        ):
            answer = await place.client.ask(method, path)
            assert 400 <= answer.status < 500
            answer.problem()


BODIES: list[tuple[Any, str]] = [
    (b"", "invalid_params"),
    (b"{}", "invalid_params"),
    (b"[]", "invalid_params"),
    (b"null", "invalid_params"),
    (b"{", "parse_error"),
    (b'{"a": \xff}', "parse_error"),
    (b'{"a": "\xff"}', "parse_error"),
    (b"[" * 100_000, "invalid_params"),
    ({"resource_ids": "user:1"}, "invalid_params"),
    ({"resource_ids": []}, "invalid_params"),
    ({"resource_ids": ["user:1", "user:1"]}, "invalid_params"),
    ({"resource_ids": [1]}, "invalid_params"),
    ({"resource_ids": ["user:1"], "partial": 1}, "invalid_params"),
    ({"resource_ids": ["user:1"], "more": 1}, "invalid_params"),
    ({"resource_ids": ["user:1"], "trace_id": ""}, "invalid_params"),
]


@pytest.mark.parametrize(("body", "type"), BODIES, ids=range(len(BODIES)))
async def test_a_wrong_body_does_nothing(body: Any, type: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        answer = await place.client.ask(
            "POST", "/api/v1/resources/release", body, headers={"Content-Type": "application/json"}
        )
        assert answer.problem_type() == (400, type)
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_only_json_that_says_so_is_taken() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        body = b'{"resource_ids": ["user:1"]}'
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ):
            answer = await place.client.ask(
                "POST", "/api/v1/resources/release", body, headers={"Content-Type": kind}
            )
            assert answer.problem_type() == (415, "about:blank")
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_parameters_in_the_query_of_what_has_a_body_are_refused() -> None:
    async with open_place() as place:
        answer = await place.client.ask(
            "POST", "/api/v1/resources/release?partial=true", {"resource_ids": ["a"]}
        )
        assert answer.problem_type() == (400, "invalid_params")


async def test_what_is_no_path_or_no_method_of_it_is_a_problem_too() -> None:
    async with open_place() as place:
        for path in ("/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/resources", "/api/v1/resources//a"):
            assert (await place.client.ask("GET", path)).problem_type() == (404, "about:blank")
        answer = await place.client.ask("PUT", "/api/v1/resources/a", {})
        assert answer.problem_type() == (405, "about:blank")
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


async def test_what_is_too_large_is_refused_and_its_sender_hears_of_it() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        large = b'{"resource_ids": ["user:1"], "x": "' + b"x" * 10_000_000 + b'"}'
        answer = await place.client.ask(
            "POST", "/api/v1/resources/release", large, headers={"Content-Type": "application/json"}
        )
        assert answer.problem_type() == (413, "about:blank")
        just = (
            b'{"resource_ids": ["user:1"], "x": "'
            + b"x" * (place.router.settings.max_message_bytes - 50)
            + b'"}'
        )
        answer = await place.client.ask(
            "POST", "/api/v1/resources/release", just, headers={"Content-Type": "application/json"}
        )
        assert answer.problem_type() == (413, "about:blank")
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_a_body_of_unknown_length_is_not_kept_beyond_the_limit() -> None:
    async with open_place() as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            await stream.send_all(
                b"POST /api/v1/resources/release HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            )
            chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
            for _ in range(100):
                await stream.send_all(chunk)
            await stream.send_all(b"0\r\n\r\n")
            answer = b"".join([piece async for piece in stream])
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"about:blank"' in answer


# --- the session behind it --------------------------------------------------------------------------------


async def test_a_router_that_has_not_begun_says_so() -> None:
    async with open_place() as place:
        place.seen.state_name = "starting"
        answer = await place.client.ask("GET", "/api/v1/statistics")
        assert answer.problem_type() == (503, "about:blank")
        assert answer.headers["retry-after"] == "1"


async def test_all_that_an_administrator_asks_goes_through_one_session() -> None:
    async with open_place() as place:
        assert place.router.statistics().sessions == 0
        for _ in range(3):
            assert (await place.client.get("/api/v1/statistics"))["sessions"] == 1


async def test_a_session_that_was_ended_is_followed_by_another() -> None:
    async with open_place() as place:
        await place.client.get("/api/v1/statistics")
        [session] = place.router._sessions
        told = await place.client.ask("POST", f"/api/v1/sessions/{session}/end", {"reason": "my own"})
        assert told.status == 200
        assert (await place.client.get("/api/v1/statistics"))["sessions"] == 1
        assert session not in place.router._sessions


async def test_administrators_get_in_when_there_are_too_many_sessions() -> None:
    async with open_place(Settings(max_sessions=1)) as place:
        await place.instance("ada", "user:1")
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_a_router_that_drains_takes_no_calls_and_can_still_be_looked_at() -> None:
    async with open_place() as place:
        await place.instance("ada", "user:1")
        hanging = {"resource_id": "user:1", "method": "wait", "timeout_seconds": 5}
        async with await place.client.begin("POST", "/api/v1/call", hanging) as exchange:
            await trio.testing.wait_all_tasks_blocked(0.05)
            place.nursery.start_soon(place.router.drain, 1.0)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (await place.client.get("/api/v1/statistics"))["calls_in_flight"] == 1
            answer = await place.client.ask(
                "POST", "/api/v1/call", {"resource_id": "user:1", "method": "echo"}
            )
            assert answer.problem_type() == (503, "unavailable")
            assert answer.problem()["reason"] == "draining"
            told = (await exchange.answer()).problem()
            assert (told["type"], told["delivery"]) == ("unavailable", "unknown")
