"""What commands make of answers that no router gives, or gives only where something is wrong."""

import json

import pytest
import trio
import trio.testing

from resroute import ConnectionFailed, ConnectionLost, InvalidParams, ResrouteError, VersionConflict
from resroute.cli import exits
from resroute.cli.interrupts import explain
from resroute.cli.remote import asking
from resroute.cli.remote import lines as lines_module
from resroute.cli.remote.asking import ANSWER_SECONDS
from resroute.cli.remote.refusals import Denied, NoAdminApi, TokenRefused, TriesRefused
from resroute.cli.remote.results import AuditFilters
from resroute.errors import InternalError, UnknownRouterError
from tests.cli.peers import Asked, Place, Script, answering, open_peer, saying

EMPTY = b'{"instances": [], "total_count": 0, "has_more": false, "trace_id": "t"}'
HTML = b"<html>hello</html>"


def problem(
    status: int, kind: str = "about:blank", detail: object = "what is wrong", **members: object
) -> bytes:
    told = {"type": kind, "title": "T", "status": status, "detail": detail, **members}
    return answering(json.dumps(told).encode(), status=f"{status} X", kind="application/problem+json")


async def error_of(*scripts: Script, token: str | None = None) -> ResrouteError:
    """What a list of instances ends with."""
    async with open_peer(*scripts, token=token) as place:
        with pytest.raises(ResrouteError) as caught:
            await place.api.query_instances()
    return caught.value


# --- problems -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind", "code", "text"),
    [
        (problem(401, "unauthenticated", code=401), TokenRefused, exits.REFUSED, "give the token of one"),
        (problem(401), TokenRefused, exits.REFUSED, "administrators only"),
        (answering(HTML, status="401 Go", kind="text/html"), TokenRefused, exits.REFUSED, "--token-file"),
        (problem(403, detail="only from here"), Denied, exits.REFUSED, "only from here"),
        (answering(HTML, status="403 No", kind="text/html"), Denied, exits.REFUSED, "HTTP 403"),
        (
            problem(429, "rate_limited", code=429, limit=5, retry_after_seconds=3.6),
            TriesRefused,
            exits.REFUSED,
            "try again in 4 s",
        ),
        (
            problem(429, "rate_limited", code=429, retry_after_seconds="soon"),
            TriesRefused,
            exits.REFUSED,
            "try again later",
        ),
        (
            problem(
                409, "version_conflict", code=409, resource_id="a", expected_version=3, current_version=4
            ),
            VersionConflict,
            exits.CONFLICT,
            "at version 4, not 3",
        ),
        (
            problem(
                400, "invalid_params", code=-32602, errors=[{"path": "limit", "message": "must be less"}]
            ),
            InvalidParams,
            exits.MISTAKE,
            "limit: must be less",
        ),
        (problem(413), InvalidParams, exits.MISTAKE, "what is wrong"),
        (
            answering(b"", status="431 Long", kind="text/plain"),
            InvalidParams,
            exits.MISTAKE,
            "too long for one",
        ),
        (problem(400, detail="TLS is spoken here"), ConnectionFailed, exits.NO_CONNECTION, "TLS is spoken"),
        (problem(431), InvalidParams, exits.MISTAKE, "too long for one"),
        (
            problem(500, "internal_error", code=-32603, trace_id="4bf92f"),
            InternalError,
            exits.FAULT,
            "this trace id: 4bf92f",
        ),
        (
            problem(404),
            NoAdminApi,
            exits.NO_CONNECTION,
            "does not offer GET /api/v1/instances: it is of another version than this program",
        ),
        (problem(503), ConnectionFailed, exits.NO_CONNECTION, "what is wrong"),
        (problem(418, "teapot", code=418), UnknownRouterError, exits.MAY_HAVE_RUN, "what is wrong"),
        # members that are none of a router's
        (
            problem(400, "invalid_params", code=-32602, errors=5),
            UnknownRouterError,
            exits.MAY_HAVE_RUN,
            "what is wrong",
        ),
        (problem(413, "invalid_params", detail=[1], code="x"), InvalidParams, exits.MISTAKE, "[1]"),
    ],
)
async def test_a_problem_is_one_line_and_an_exit_code(
    said: bytes, kind: type[ResrouteError], code: int, text: str
) -> None:
    error = await error_of(saying(said))
    assert type(error) is kind
    assert exits.code_for(error) == code
    assert text in explain(error)
    assert "\n" not in explain(error)


async def test_whose_token_is_not_known_is_told_so() -> None:
    error = await error_of(saying(problem(401)), token="s3cr3t")
    assert "does not know this token" in str(error)
    assert "s3cr3t" not in str(error) + repr(error)


# --- what is no admin API -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (answering(HTML, kind="text/html"), "no admin API of a router: HTTP 200, text/html"),
        (answering(HTML, status="502 Bad", kind="text/html"), "HTTP 502, text/html"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP 200, nothing"),
        (answering(b"", status="426 No", kind="text/plain"), "a port for WebSocket"),
        (answering(HTML), "none that this program understands"),
        (answering(b"{}"), "none that this program understands"),
        (answering(b"[" * 5000), "none that this program understands"),
        (answering(b'{"instances": [{"instance_id": 5}], "total_count": 1}'), "none that this program"),
        (
            answering(b"\xff", status="500 X", kind="application/problem+json"),
            "HTTP 500, application/problem",
        ),
        (answering(b"[1]", status="500 X", kind="application/problem+json"), "HTTP 500, application/problem"),
        (b"SSH-2.0-OpenSSH_10\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", "does not speak HTTP"),
    ],
)
async def test_an_answer_that_is_none_of_a_routers_is_told_as_one(said: bytes, text: str) -> None:
    error = await error_of(saying(said))
    assert isinstance(error, NoAdminApi)
    assert text in str(error)
    assert exits.code_for(error) == exits.NO_CONNECTION


async def test_nobody_is_followed_elsewhere() -> None:
    away = answering(b"", status="302 Found", kind="text/html", more="Location: https://evil.example/\r\n")
    async with open_peer(saying(away), token="s3cr3t") as place:
        with pytest.raises(NoAdminApi, match="leads elsewhere, to https://evil"):
            await place.api.query_instances()
        assert len(place.peer.asked) == 1


async def test_a_body_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER_BYTES", 1000)
    error = await error_of(saying(answering(b" " * 1001)))
    assert "longer than 1000 bytes" in str(error)
    error = await error_of(saying(answering(b" " * 100_000, status="500 X", kind="text/plain")))
    assert "longer than" in str(error)


# --- time -----------------------------------------------------------------------------------------------------------


async def hang(_stream: trio.abc.Stream, _: Asked) -> None:
    await trio.sleep_forever()


async def drip(stream: trio.abc.Stream, _: Asked) -> None:
    """An answer that never ends."""
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        await stream.send_all(b"1\r\n \r\n")
        await trio.sleep(0.5)


@pytest.mark.parametrize("script", [hang, drip])
async def test_an_answer_that_does_not_end_is_not_waited_for(
    script: Script, autojump_clock: trio.testing.MockClock
) -> None:
    began_at = trio.current_time()
    error = await error_of(script)
    assert isinstance(error, ConnectionLost)
    assert "no answer within 30 seconds" in str(error)
    assert trio.current_time() - began_at == pytest.approx(ANSWER_SECONDS)


async def test_who_works_gets_more_time(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(stream: trio.abc.Stream, _: Asked) -> None:
        await trio.sleep(ANSWER_SECONDS + 2)
        await stream.send_all(answering(b'{"moves": [], "trace_id": "t"}'))

    async with open_peer(work, hang) as place:
        assert (await place.api.rebalance_service("documents")).moves == ()
        monkeypatch.setattr(asking, "WORK_SECONDS", 5.0)
        with pytest.raises(ConnectionLost, match="within 5 seconds"):
            await place.api.rebalance_service("documents")


# --- connections ----------------------------------------------------------------------------------------------------


async def test_what_is_cut_off_is_told_as_such() -> None:
    whole = answering(EMPTY)
    for said, text in ((b"", "before it had"), (whole[:30], "before it had"), (whole[:-1], "cut off")):
        error = await error_of(saying(said))
        assert isinstance(error, ConnectionLost), said
        assert error.delivery == "unknown"
        assert text in str(error)


async def test_one_connection_serves_for_one_page_after_the_other() -> None:
    again = saying(answering(EMPTY), then_close=False)
    async with open_peer(again, again, again) as place:
        for _ in range(3):
            assert (await place.api.query_instances()).instances == ()
        assert place.peer.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    then_gone = saying(answering(EMPTY))
    async with open_peer(then_gone, then_gone) as place:
        for _ in range(2):
            assert (await place.api.query_instances()).instances == ()
        assert place.peer.connections == 2


async def test_what_changes_something_is_asked_for_once_and_over_a_connection_of_its_own() -> None:
    again = saying(answering(EMPTY), then_close=False)
    async with open_peer(again, saying(b"")) as place:
        await place.api.query_instances()
        with pytest.raises(ConnectionLost):
            await place.api.release_resources("a")
        assert [asked.verb for asked in place.peer.asked] == ["GET", "POST"]
        assert place.peer.connections == 2


async def test_a_connection_that_has_been_idle_is_not_used_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    again = saying(answering(EMPTY), then_close=False)
    async with open_peer(again, again) as place:
        await place.api.query_instances()
        await trio.sleep(5)
        await place.api.query_instances()
        assert place.peer.connections == 2


# --- long answers ---------------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(*texts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in texts)


async def lines_of(place: Place) -> list[dict[str, object]]:
    async with place.api.open_audit_export(AuditFilters(), format="jsonl", limit=None) as lines:
        told: list[dict[str, object]] = []
        while text := await lines.receive():
            told += lines.objects(text)
        return told


async def error_of_lines(*scripts: Script) -> ResrouteError:
    async with open_peer(*scripts) as place:
        with pytest.raises(ResrouteError) as caught:
            await lines_of(place)
    return caught.value


async def test_lines_are_whole_however_they_come() -> None:
    whole = chunks(b'{"id": 1}\n{"i', b'd": 2', b'}\n{"id": 3}\n') + b"0\r\n\r\n"
    async with open_peer(saying(CHUNKED, whole), saying(CHUNKED, b"0\r\n\r\n")) as place:
        assert await lines_of(place) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert await lines_of(place) == []


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (chunks(b'{"id": 1}\n') + b"5\r\n{", ConnectionLost, "cut off"),
        (chunks(b'{"id": 1}\n{') + b"0\r\n\r\n", ConnectionLost, "cut off"),
        (chunks(b"nonsense\n") + b"0\r\n\r\n", NoAdminApi, "no JSON"),
        (chunks(b"[1]\n") + b"0\r\n\r\n", NoAdminApi, "no JSON object"),
        (chunks(b"[" * 9000 + b"\n") + b"0\r\n\r\n", NoAdminApi, "no JSON"),
    ],
)
async def test_lines_that_are_none_are_told_as_such(
    said: bytes, kind: type[ResrouteError], text: str
) -> None:
    error = await error_of_lines(saying(CHUNKED, said))
    assert (type(error), text in str(error)) == (kind, True)


async def test_a_line_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 1000)
    error = await error_of_lines(saying(CHUNKED, chunks(b"a" * 600, b"a" * 600)))
    assert "longer than 1000" in str(error)


async def test_an_export_that_stops_on_its_way_is_not_waited_for(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "SILENCE_SECONDS", 20.0)

    async def stop(stream: trio.abc.Stream, _: Asked) -> None:
        await stream.send_all(CHUNKED + chunks(b'{"id": 1}\n'))
        await trio.sleep_forever()

    assert "nothing more within 20 seconds" in str(await error_of_lines(stop))


async def test_an_export_that_is_refused_says_why() -> None:
    refused = problem(
        400, "invalid_params", code=-32602, errors=[{"path": "limit", "message": "is too much"}]
    )
    assert "limit: is too much" in str(await error_of_lines(saying(refused)))


# --- requests -------------------------------------------------------------------------------------------------------


async def test_what_is_sent_is_what_was_asked_for() -> None:
    page = b'{"resources": [], "total_count": 0, "has_more": false}'
    again = saying(answering(page))
    async with open_peer(again, token="s3cr3t") as place:
        await place.api.query_resources(resource_ids=["a:1", "b/2&c"], tags=["d e"], limit=5)
        [asked] = place.peer.asked
    assert asked.target == "/api/v1/resources?resource_ids=a%3A1&resource_ids=b%2F2%26c&tags=d+e&limit=5"
    assert asked.headers["authorization"] == "Bearer s3cr3t"
    assert asked.headers["host"] == "router.example"


async def test_without_a_token_none_is_sent() -> None:
    async with open_peer(saying(answering(EMPTY))) as place:
        await place.api.query_instances()
        assert "authorization" not in place.peer.asked[0].headers
