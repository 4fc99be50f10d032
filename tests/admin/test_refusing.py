"""What is refused whatever is asked for, and how it is told: to programs as problems, to people as a page."""

import json
from typing import Any

import hypothesis
import msgspec
import pytest
import trio
from hypothesis import strategies as st

from resroute.admin.params import MAX_MEMBERS, members_of
from resroute.admin.problems import Problem
from tests.admin.asking import Answer, Place, open_place
from tests.admin.test_access import ADA, Browser, bearer, open_guarded

IN_A_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
JSON = {"Content-Type": "application/json"}


async def say(place: Place, request: bytes) -> bytes:
    """What comes back of a request as it stands, until the connection is closed."""
    async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
        await stream.send_all(request)
        with trio.fail_after(10):
            return b"".join([piece async for piece in stream])


# --- to whom it is told how -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/static/icon.svg",
        "/api/v1/statistics",
        "/",
        "/docs",
    ],
)
async def test_what_a_path_does_not_do_is_a_problem_for_programs(path: str) -> None:
    async with open_place() as place:
        answer = await place.client.ask("PUT", path, {})
        assert answer.problem_type() == (405, "about:blank")
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/metrics/x", "/healthz/", "/api", "/static/nothing", "/static/../app.py"])
async def test_and_so_it_is_for_browsers_where_there_are_no_pages(path: str) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", path, headers={"Accept": IN_A_BROWSER})
        assert answer.problem_type() == (404, "about:blank")


async def test_who_may_not_read_the_numbers_is_told_so_in_a_problem() -> None:
    async with open_guarded() as place:
        for accept in ("application/openmetrics-text", IN_A_BROWSER):
            answer = await place.client.ask("GET", "/metrics", headers={"Accept": accept})
            assert answer.problem_type() == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (IN_A_BROWSER, True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/problem+json, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("nonsense;;q=x", False),
    ],
)
async def test_only_who_would_rather_see_a_page_gets_one(accept: str, is_page: bool) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", "/nothing<script>", headers={"Accept": accept})
        assert answer.status == 404
        if is_page:
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script>" not in answer.text
        else:
            assert answer.problem()["detail"] == "there is no page /nothing<script>; / lists those there are"


async def test_a_websocket_is_refused_with_a_word_about_where_sessions_are() -> None:
    async with open_place() as place:
        for path in ("/", "/api/v1/statistics"):
            answer = await place.client.ask("GET", path, headers={"Upgrade": "websocket"})
            assert answer.problem_type() == (400, "about:blank")
            assert "sessions are on the router's own" in answer.problem()["detail"]


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/resources/%FF", "/resources/a%C3", "/resources?prefix=%ff", "/nothing?%80"]
)
async def test_an_address_that_is_no_text_means_nothing(path: str) -> None:
    async with open_place() as place:
        for method in ("GET", "DELETE", "PATCH"):
            answer = await place.client.ask(method, "/api/v1" + path)
            assert answer.problem_type() == (400, "about:blank")
            assert "not UTF-8" in answer.problem()["detail"]


# --- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/v1/resources/a", "/healthz", "/"])
async def test_a_body_that_nobody_would_read_is_refused(method: str, path: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "a")
        for body in (b"{}", b'{"resource_ids": ["a"]}', b"x" * 10_000_000):
            answer = await place.client.ask(method, path, body, headers=JSON)
            assert answer.status == 400
            if method != "HEAD":
                assert "takes no body" in answer.problem()["detail"]
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


async def test_a_body_in_pieces_that_nobody_would_read_is_refused_too_and_none_is_none() -> None:
    head = b"DELETE /api/v1/resources/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    async with open_place() as place:
        await place.instance("ada", "a")
        pieces = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        assert (await say(place, pieces)).startswith(b"HTTP/1.1 400 ")
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1
        assert (await say(place, head + b"Content-Length: 0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await place.instance("bob", "a")
        nothing = head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert (await say(place, nothing)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"resource_ids": ["a"], "resource_ids": ["b"]}', "resource_ids"),
        (b'{"resource_ids": ["a"], "partial": true, "partial": true}', "partial"),
        (b'{"resource_ids": ["a"], "resource_\\u0069ds": ["b"]}', "resource_ids"),
        (b'{"": 1, "": 2}', ""),
    ],
)
async def test_a_parameter_that_is_there_twice_is_named_and_nothing_done(body: bytes, name: str) -> None:
    async with open_place() as place:
        await place.instance("ada", "a", "b")
        answer = await place.client.ask("POST", "/api/v1/resources/release", body, headers=JSON)
        assert answer.problem_type() == (400, "invalid_params")
        assert answer.problem()["errors"] == [{"path": name, "message": "is given more than once"}]
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 2


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.sampled_from(["a", "b", "\u00e9"])
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


@hypothesis.given(st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=6))
def test_a_body_is_refused_just_when_a_member_is_there_twice(members: list[tuple[str, Any, bool]]) -> None:
    text = ",".join(
        f"{json.dumps(name, ensure_ascii=ascii_only)}: {json.dumps(value)}"
        for name, value, ascii_only in members
    )
    body = f"{{{text}}}".encode()
    names = [name for name, _, _ in members]
    if len(set(names)) < len(names):
        with pytest.raises(Problem, match="is given more than once"):
            members_of(body)
    else:
        assert msgspec.json.decode(msgspec.json.encode(members_of(body))) == json.loads(body)


async def test_what_passes_through_a_call_may_have_members_twice() -> None:
    async with open_place() as place:
        owner = await place.instance("ada", "a")
        body = b'{"resource_id": "a", "method": "echo", "params": {"x": 1, "x": 2}}'
        answer = await place.client.ask("POST", "/api/v1/call", body, headers=JSON)
        assert b'"result":{"x": 2}' in answer.body
        assert (await owner.wait_heard("echo"))["params"] == {"x": 2}


async def test_a_name_that_is_far_too_long_is_not_told_in_full() -> None:
    name = b"x" * 450_000
    async with open_place() as place:
        for body in (b'{"%b": 1}' % name, b'{"%b": 1, "%b": 2}' % (name, name)):
            answer = await place.client.ask("POST", "/api/v1/resources/release", body, headers=JSON)
            assert answer.problem_type() == (400, "invalid_params")
            assert len(answer.body) < 1000
        answer = await place.client.ask("POST", "/api/v1/resources/release?" + "x" * 10_000, {})
        assert len(answer.body) < 1000


async def test_far_too_many_parameters_are_not_all_looked_at() -> None:
    async with open_place() as place:
        body: dict[str, Any] = {f"m{number}": number for number in range(MAX_MEMBERS + 1)}
        answer = await place.client.ask("POST", "/api/v1/resources/release", body)
        assert answer.problem_type() == (400, "invalid_params")
        assert f"more than {MAX_MEMBERS} members" in answer.problem()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/call"),
        ("PATCH", "/api/v1/resources/a"),
        ("POST", "/api/v1/nothing"),
        ("PUT", "/metrics"),
        ("POST", "/login"),
    ],
)
async def test_whoever_sends_ten_megabytes_hears_what_is_wrong(method: str, path: str) -> None:
    async def said(**headers: str) -> Answer:
        answer = await place.client.ask(method, path, b"x" * 10_000_000, headers={**JSON, **headers})
        answer.problem()
        return answer

    async with open_guarded() as place:
        assert (await said()).status in (401, 404, 405, 413, 415)
        assert (await said(**bearer(ADA))).status in (404, 405, 413, 415)
        browser = Browser(place)
        await browser.log_in(ADA)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        assert (await said(Cookie=cookie)).status in (403, 404, 405, 413, 415)
        assert place.router.statistics().calls_in_flight == 0
