"""WebSocket as RFC 6455 says, on the router's side of the connection."""

import gc
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from resroute.router import Router
from resroute.router.admission import _refusal_of, refusal_of
from resroute.settings import Settings
from resroute.transport.interface import JSON, MAX_PACK_BYTES, MSGPACK, NDJSON, Subprotocol, TransportEnded
from resroute.transport.websocket import WebSocketTransport
from tests.fuzz import said
from tests.transport.ends import WebSocketPeer, accept_all, open_websocket

PING = b'{"jsonrpc":"2.0","id":1,"method":"session.ping"}'


@asynccontextmanager
async def open_router(settings: Settings | None = None) -> AsyncGenerator[tuple[Router, trio.Nursery]]:
    """A router, and where to run what connects to it."""
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            router = Router(settings)
            await nursery.start(router.serve)
            yield router, nursery
            nursery.cancel_scope.cancel()


async def shake_hands(
    router: Router,
    nursery: trio.Nursery,
    headers: dict[str, str] | None = None,
    *,
    path: str = "/",
    subprotocols: Sequence[str] = (),
) -> WebSocketPeer:
    """Connect to a router, as far as it lets one."""
    ours, theirs = memory_stream_pair()
    nursery.start_soon(router.serve_stream, theirs)
    peer = WebSocketPeer(ours, path=path, subprotocols=subprotocols)
    await peer.shake_hands(headers)
    if peer.protocol.state is State.OPEN:
        nursery.start_soon(peer.run)
    return peer


def refusal(peer: WebSocketPeer) -> tuple[int, str]:
    """With which status and body a handshake was refused."""
    error = peer.protocol.handshake_exc
    assert isinstance(error, InvalidStatus), error
    return error.response.status_code, bytes(error.response.body or b"").decode()


# --- handshakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["resroute.v1"], JSON),
        (["resroute.v1", "resroute.v1.ndjson"], NDJSON),
        (["soap", "resroute.v1"], JSON),
        (["bearer.secret"], None),
        (["bearer.secret", "resroute.v1"], JSON),
    ],
)
async def test_the_router_chooses_among_the_subprotocols_offered(
    autojump_clock: MockClock, offered: list[str], chosen: str | None
) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery, subprotocols=offered)
        assert peer.protocol.state is State.OPEN
        assert peer.protocol.subprotocol == chosen
        await peer.send(PING)
        assert b'"id":1' in await peer.receive()


@pytest.mark.parametrize("offered", [["soap"], ["soap", "bearer.secret"]])
async def test_only_unknown_subprotocols_are_refused_with_a_list_of_the_known(
    autojump_clock: MockClock, offered: list[str]
) -> None:
    async with open_router() as (router, nursery):
        status, body = refusal(await shake_hands(router, nursery, subprotocols=offered))
        assert status == 400
        assert NDJSON in body
        assert JSON in body
        assert "secret" not in body


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?a=b%23/elsewhere/", None, ""),
        ("/resources/doc/7%3Aa?progress=true&timeout_seconds=5&owner_changes=true", None, ""),
        ("/services/documents", None, ""),
        ("/elsewhere", 404, "sessions are at /, /resources/RESOURCE_ID and /services/SERVICE_NAME"),
        ("//", 404, "sessions are at /"),
        ("/resources", 404, "sessions are at /"),
        ("/resources/a%20b", 400, "'a b' is not a valid resource id"),
        ("/services/%C3%A4", 400, "'ä' is not a valid service name"),
        ("/resources/a?progress=1&colour=red", 400, "progress must be true or false, not '1'; 'colour' is"),
        ("/services/a?owner_changes=true", 400, "'owner_changes' is unknown here"),
        ("/resources/a?timeout_seconds=601", 400, "timeout_seconds must be a number above 0 and at most 600"),
    ],
)
async def test_a_path_opens_a_session_or_is_refused_with_a_sentence(
    autojump_clock: MockClock, path: str, status: int | None, words: str
) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery, path=path)
        if status is None:
            assert peer.protocol.state is State.OPEN
        else:
            refused, body = refusal(peer)
            assert refused == status
            assert words in body
            assert body.endswith(".\n")


@pytest.mark.parametrize("path", ["/", "/resources/doc:7?owner_changes=true"])
async def test_nothing_is_kept_of_the_headers(autojump_clock: MockClock, path: str) -> None:
    async with open_router() as (router, nursery):
        ours, theirs = memory_stream_pair()
        nursery.start_soon(router.serve_stream, theirs)
        await ours.send_all(said.handshake(path=path, extra=b"X-Large: %b\r\n" % (b"x" * 4000)))
        await ours.receive_some()
        assert router.statistics().sessions == 1
        gc.collect()
        kept = [it for it in gc.get_objects() if isinstance(it, Request) and "X-Large" in it.headers]
        assert not kept


def test_nothing_is_kept_of_a_target() -> None:
    _refusal_of.cache_clear()
    for path in ("/?token=hush-hush", "/services/s?progress=true", "/resources/doc:7", "/?token=hush"):
        assert refusal_of(Request(path, Headers(Host="localhost")), Settings()) is None
    assert _refusal_of.cache_info().currsize == 1


async def test_the_path_binds_the_session(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery, path="/resources/doc/7")
        await peer.send(b'{"jsonrpc":"2.0","id":1,"method":"route.call"}')
        answer = json.loads(await peer.receive())
        assert answer["error"]["data"]["resource_id"] == "doc/7"
        await peer.send(PING)
        assert b'"result"' in await peer.receive()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8765"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:8765"}, None),
        ({"Host": "[::1]:8765"}, None),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, None),
        ({"Origin": "https://good.example"}, None),
        ({"Origin": "https://good.example.evil.example"}, 403),
        ({"Host": "localhost:8765", "Origin": "http://localhost:8765"}, None),
        ({"Host": "localhost:8765", "Origin": "http://localhost:9999"}, 403),
    ],
)
async def test_foreign_pages_and_foreign_names_are_refused(
    autojump_clock: MockClock, headers: dict[str, str], status: int | None
) -> None:
    async with open_router(Settings(allowed_origins=("https://good.example",))) as (router, nursery):
        peer = await shake_hands(router, nursery, headers)
        if status is None:
            assert peer.protocol.state is State.OPEN
        else:
            assert refusal(peer)[0] == status


@pytest.mark.parametrize(
    ("host", "origin", "is_taken"),
    [
        ("localhost:8765", "http://localhost:8766", True),
        ("127.0.0.1:8765", "http://127.0.0.1:8766", True),
        ("[::1]:8765", "http://[::1]:8766", True),
        ("127.0.0.1:8765", "http://127.0.0.1:8767", False),
        ("127.0.0.1:8765", "http://evil.example:8766", False),
        ("127.0.0.1:8765", "http://localhost:8766", False),
        ("127.0.0.1:8765", "http://127.0.0.1", False),
        ("127.0.0.1:8765", "http://127.0.0.1:port", False),
    ],
)
async def test_pages_of_the_admin_server_may_connect(
    autojump_clock: MockClock, host: str, origin: str, is_taken: bool
) -> None:
    async with open_router() as (router, nursery):
        router.admin_port = 8766
        peer = await shake_hands(router, nursery, {"Host": host, "Origin": origin})
        assert (peer.protocol.state is State.OPEN) is is_taken


async def test_a_router_that_listens_everywhere_takes_any_host(autojump_clock: MockClock) -> None:
    async with open_router(Settings(host="0.0.0.0")) as (router, nursery):
        peer = await shake_hands(router, nursery, {"Host": "router.example"})
        assert peer.protocol.state is State.OPEN


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_who_does_not_speak_websocket_is_told_so_in_http(
    autojump_clock: MockClock, request_text: str
) -> None:
    async with open_router() as (router, nursery):
        ours, theirs = memory_stream_pair()
        nursery.start_soon(router.serve_stream, theirs)
        await ours.send_all(request_text.encode())
        answer = b""
        while data := await ours.receive_some():
            answer += data
        assert answer.startswith(b"HTTP/1.1 4")
        assert router.statistics().sessions == 0


async def test_who_does_not_even_speak_http_is_told_so_and_left(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        ours, theirs = memory_stream_pair()
        nursery.start_soon(router.serve_stream, theirs)
        await ours.send_all(b"EHLO mail.example\r\n\r\n")
        answer = b""
        while data := await ours.receive_some():
            answer += data
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"no opening handshake" in answer
        assert router.statistics().sessions == 0


async def test_who_says_nothing_has_as_long_as_a_handshake_may_take(autojump_clock: MockClock) -> None:
    async with open_router(Settings(handshake_timeout_seconds=7)) as (router, nursery):
        ours, theirs = memory_stream_pair()
        nursery.start_soon(router.serve_stream, theirs)
        await ours.send_all(b"GET / HTTP/1.1\r\n")
        began = trio.current_time()
        assert await ours.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(7)


async def test_nobody_new_comes_in_while_the_router_drains(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        await router.drain(0)
        assert refusal(await shake_hands(router, nursery))[0] == 503


# --- messages -----------------------------------------------------------------------------------------------------


async def test_fragments_are_put_together_whatever_comes_between(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_websocket(NDJSON) as (transport, peer), trio.open_nursery() as nursery:

            async def send() -> None:
                await peer.send_frame(Opcode.TEXT, b'{"text":"na', fin=False)
                await peer.send_frame(Opcode.PING, b"between")
                await peer.send_frame(Opcode.CONT, "ïve".encode()[:2], fin=False)
                await peer.send_frame(Opcode.PONG, b"")
                await peer.send_frame(Opcode.CONT, "ïve".encode()[2:] + b'"}\n{}')

            nursery.start_soon(send)
            received: list[bytes] = []
            held = 0
            while not received:
                received += await transport.receive()
                held = max(held, transport.held_bytes)
            assert received == ['{"text":"naïve"}'.encode(), b"{}"]
            assert held == len('{"text":"naï'.encode())
            assert (transport.held_bytes, transport.pongs) == (0, 1)
            await transport.send([])
            await trio.testing.wait_all_tasks_blocked()
            assert peer.pongs == [b"between"]


async def test_one_byte_at_a_time_is_as_good_as_all_at_once(autojump_clock: MockClock) -> None:
    texts = [b"[1]", b"x" * 200, b"\n" + b"y" * 70_000]
    wire = b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts)
    with trio.fail_after(1000):
        async with open_websocket(NDJSON) as (transport, peer), trio.open_nursery() as nursery:

            async def trickle() -> None:
                for at in range(0, 400):
                    await peer.send_raw(wire[at : at + 1])
                for at in range(400, len(wire), 997):
                    await peer.send_raw(wire[at : at + 997])

            nursery.start_soon(trickle)
            received: list[bytes] = []
            while len(received) < 3:
                received += await transport.receive()
            assert received == [b"[1]", b"x" * 200, b"y" * 70_000]


async def test_several_frames_at_once_are_several_messages(autojump_clock: MockClock) -> None:
    wire = b"".join(Frame(Opcode.TEXT, b"[%d]" % number).serialize(mask=True) for number in range(50))
    with trio.fail_after(60):
        async with open_websocket(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_raw, wire)
            assert list(await transport.receive()) == [b"[%d]" % number for number in range(50)]


@pytest.mark.parametrize(
    ("subprotocol", "frames", "code"),
    [
        (JSON, [Frame(Opcode.BINARY, b"[1]")], 1003),
        (JSON, [Frame(Opcode.TEXT, b"\xff")], 1007),
        (JSON, [Frame(Opcode.TEXT, b"\xc3", fin=False), Frame(Opcode.CONT, b"(")], 1007),
        (JSON, [Frame(Opcode.TEXT, b"\xed\xa0\x80")], 1007),
        (JSON, [Frame(Opcode.TEXT, b"x" * 1001)], 1009),
        (JSON, [Frame(Opcode.TEXT, b"x" * 600, fin=False), Frame(Opcode.CONT, b"x" * 600)], 1009),
        (JSON, [Frame(Opcode.CONT, b"[1]")], 1002),
        (JSON, [Frame(Opcode.TEXT, b"[1]", fin=False), Frame(Opcode.TEXT, b"[2]")], 1002),
        (JSON, [Frame(Opcode.PING, b"x" * 126)], 1002),
        (MSGPACK, [Frame(Opcode.TEXT, b"{}")], 1003),
        (MSGPACK, [Frame(Opcode.TEXT, b"{", fin=False)], 1003),
        (MSGPACK, [Frame(Opcode.BINARY, b"x" * 1001)], 1009),
        (MSGPACK, [Frame(Opcode.BINARY, b"\x90", fin=False), Frame(Opcode.BINARY, b"\x90")], 1002),
    ],
)
async def test_who_breaks_the_protocol_is_told_how(
    autojump_clock: MockClock, subprotocol: Subprotocol, frames: list[Frame], code: int
) -> None:
    with trio.fail_after(60):
        async with open_websocket(subprotocol, 1000) as (transport, peer), trio.open_nursery() as nursery:

            async def send() -> None:
                for frame in frames:
                    first = frame.opcode | (0x80 if frame.fin else 0)
                    text = Frame(Opcode.TEXT, frame.data).serialize(mask=True)
                    await peer.send_raw(bytes([first]) + text[1:])  # the library would not send some of them

            nursery.start_soon(send)
            with pytest.raises(TransportEnded) as ended:
                while True:
                    assert list(await transport.receive()) == []
            assert ended.value.code == code
            await transport.aclose(1000, "")
            with pytest.raises(TransportEnded) as ended:
                await peer.receive()
            assert ended.value.code == code
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"\x81\x03[1]", id="not masked"),
        pytest.param(b"\xc1\x83mask" + bytes(3), id="compressed, which was not agreed on"),
        pytest.param(b"\x83\x83mask" + bytes(3), id="an opcode that does not exist"),
        pytest.param(b"\x09\x83mask" + bytes(3), id="a ping in fragments"),
    ],
)
async def test_frames_that_may_not_be_end_the_connection(autojump_clock: MockClock, wire: bytes) -> None:
    with trio.fail_after(60):
        async with open_websocket(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_raw, wire)
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert ended.value.code == 1002
            await transport.aclose(1000, "")


async def test_the_header_of_a_frame_that_is_too_long_is_enough(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_websocket(JSON, 1000) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_raw, b"\x81\xff" + (2**62).to_bytes(8) + b"mask")
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert ended.value.code == 1009
            assert transport.held_bytes < 1000
            await transport.aclose(1000, "")


async def test_a_large_message_goes_in_fragments_between_which_a_pong_may_go(
    autojump_clock: MockClock,
) -> None:
    message = b"x" * (3 * MAX_PACK_BYTES + 5)
    with trio.fail_after(60):
        async with open_websocket(JSON) as (transport, peer), trio.open_nursery() as nursery:
            peer.stall()
            nursery.start_soon(transport.send, [message])
            await trio.testing.wait_all_tasks_blocked()
            transport.ping()
            nursery.start_soon(transport.receive)
            peer.resume()
            assert await peer.receive() == message
            assert [len(frame.data) for frame in peer.frames] == [MAX_PACK_BYTES] * 3 + [5]
            assert [frame.opcode for frame in peer.frames] == [Opcode.TEXT, *[Opcode.CONT] * 3]
            assert peer.pings == 1


async def test_a_flood_of_pings_is_answered_with_the_latest(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_websocket(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(
                peer.send_raw,
                b"".join(Frame(Opcode.PING, b"%d" % number).serialize(mask=True) for number in range(10_000)),
            )
            while not (peer.pongs and peer.pongs[-1] == b"9999"):
                with trio.move_on_after(1):
                    await transport.receive()
                    continue
                await transport.send([])
                await trio.testing.wait_all_tasks_blocked()
            assert len(peer.pongs) < 20


@pytest.mark.parametrize(
    ("before", "frame", "after", "turns"),
    [
        pytest.param(b"", Frame(Opcode.PING, b""), b"", 50, id="Pings"),
        pytest.param(b"", Frame(Opcode.PONG, b""), b"", 1, id="Pongs"),
        pytest.param(
            Frame(Opcode.TEXT, b"[", fin=False).serialize(mask=True),
            Frame(Opcode.CONT, b"", fin=False),
            Frame(Opcode.CONT, b"]").serialize(mask=True),
            50,
            id="fragments",
        ),
        pytest.param(b"", Frame(Opcode.TEXT, b""), b"", 1, id="messages"),
    ],
)
async def test_a_flood_of_small_frames_is_read_in_slices_between_which_others_have_their_turn(
    autojump_clock: MockClock, before: bytes, frame: Frame, after: bytes, turns: int
) -> None:
    count, passes, messages = 5000, 0, list[bytes]()

    async def count_passes() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    with trio.fail_after(60):
        async with open_websocket(JSON) as (transport, peer), trio.open_nursery() as nursery:
            last = Frame(Opcode.TEXT, b"[1]").serialize(mask=True)
            flood = before + b"".join(frame.serialize(mask=True) for _ in range(count)) + after + last
            nursery.start_soon(peer.send_raw, flood)
            messages += await transport.receive()
            nursery.start_soon(count_passes)
            while b"[1]" not in messages:
                messages += await transport.receive()
            assert passes >= turns
            assert transport.pongs == (count if frame.opcode == Opcode.PONG else 0)
            is_text = frame.opcode == Opcode.TEXT
            assert messages[:-1] == ([b""] * count if is_text else [b"[]"] if before else [])
            assert not transport.held_bytes
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("more", [0, 1, 4095, 4096, 4097, 20_000])
async def test_very_many_lines_are_taken_in_slices_and_in_order_and_count_as_memory(
    autojump_clock: MockClock, more: int
) -> None:
    with trio.fail_after(60):
        async with open_websocket(NDJSON) as (transport, peer), trio.open_nursery() as nursery:
            lines = [b"%d" % number for number in range(more)]
            texts = [b"\n".join(lines) + b"\n\n", b"first\nsecond", b"", b"last"]
            flood = b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts)
            nursery.start_soon(peer.send_raw, flood)
            messages = list[bytes]()
            while b"last" not in messages:
                taken = await transport.receive()
                assert len(taken) <= 4100
                messages += taken
                if messages:  # the text has arrived
                    assert transport.held_bytes >= len(b"\n".join(lines[len(messages) :]))
            assert messages == [*lines, b"first", b"second", b"last"]
            assert not transport.held_bytes
            nursery.start_soon(peer.send_raw, Frame(Opcode.TEXT, b"again").serialize(mask=True))
            assert list(await transport.receive()) == [b"again"]
            nursery.cancel_scope.cancel()


async def test_a_pong_that_nobody_asked_for_is_a_sign_of_life_and_no_round_trip(
    autojump_clock: MockClock,
) -> None:
    settings = Settings()
    pong = Frame(Opcode.PONG, b"").serialize(mask=True)
    async with open_router(settings) as (router, nursery):
        peer = await shake_hands(router, nursery)
        for _ in range(3):
            await peer.send_raw(pong)
            await trio.testing.wait_all_tasks_blocked()
        round_trips = router.metrics.round_trips
        assert sum(round_trips.counts) == round_trips.sum == 0
        while not peer.pings:
            await trio.sleep(1)
            await peer.send_raw(pong + Frame(Opcode.TEXT, PING).serialize(mask=True))
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await trio.sleep(1)
            await peer.send_raw(pong)
            await trio.testing.wait_all_tasks_blocked()
        assert sum(round_trips.counts) == peer.pings == 1
        assert 0 <= round_trips.sum < 1


# --- closing ------------------------------------------------------------------------------------------------------


async def test_a_close_is_answered_in_kind_and_the_stream_closed(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery)
        await peer.aclose(1000, "done")
        assert peer.code == 1000
        await trio.testing.wait_all_tasks_blocked()
        assert router.statistics().sessions == 0


async def test_a_close_without_a_code_is_fine(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery)
        await peer.send_frame(Opcode.CLOSE, b"")
        with pytest.raises(TransportEnded) as ended:
            await peer.receive()
        assert ended.value.code in (1000, 1005)
        await trio.testing.wait_all_tasks_blocked()
        assert router.statistics().sessions == 0


async def test_what_arrives_after_a_close_is_nobodys(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        peer = await shake_hands(router, nursery)
        await peer.send_raw(
            Frame(Opcode.TEXT, PING).serialize(mask=True)
            + Frame(Opcode.CLOSE, (1000).to_bytes(2)).serialize(mask=True)
            + Frame(Opcode.TEXT, PING.replace(b'"id":1', b'"id":2')).serialize(mask=True)
        )
        texts = []
        with pytest.raises(TransportEnded):
            while True:
                texts.append(await peer.receive())
        assert not any(b'"id":2' in text for text in texts)


async def test_a_flood_before_a_goodbye_leaves_others_their_turn(autojump_clock: MockClock) -> None:
    passes = 0

    async def count_passes() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    with trio.fail_after(60):
        ours, theirs = memory_stream_pair()
        transport = WebSocketTransport(theirs, max_message_bytes=1000)
        await ours.send_all(said.handshake())
        await transport.handshake(lambda _request: None)
        flood = Frame(Opcode.PING, b"").serialize(mask=True) * 5000
        await ours.send_all(flood + Frame(Opcode.CLOSE, b"").serialize(mask=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_passes)
            await transport.aclose(1000, "")
            nursery.cancel_scope.cancel()
        assert passes > 50


async def test_a_goodbye_that_was_there_before_ours_is_not_waited_for(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        ours, theirs = memory_stream_pair()
        transport = WebSocketTransport(theirs, max_message_bytes=1000)
        await ours.send_all(said.handshake())
        await transport.handshake(lambda _request: None)
        flood = Frame(Opcode.TEXT, b"").serialize(mask=True) * 2000
        await ours.send_all(flood + Frame(Opcode.CLOSE, b"").serialize(mask=True))
        assert len(await transport.receive()) < 2000
        await transport.aclose(1000, "")
        assert trio.current_time() == 0


async def test_a_peer_that_never_says_goodbye_is_left_after_two_seconds(autojump_clock: MockClock) -> None:
    async with open_router() as (router, nursery):
        ours, theirs = lockstep_stream_pair()
        served = trio.Event()

        async def serve() -> None:
            await router.serve_stream(theirs)
            served.set()

        nursery.start_soon(serve)
        peer = WebSocketPeer(ours)
        await peer.shake_hands()
        await peer.send_frame(Opcode.BINARY, b"no text")
        began = trio.current_time()
        await served.wait()
        assert trio.current_time() - began == pytest.approx(2)
        assert router.statistics().sessions == 0


async def test_half_a_handshake_and_an_end_leave_nothing_behind(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        ours, theirs = memory_stream_pair()
        transport = WebSocketTransport(theirs, max_message_bytes=1000)
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: local")
        await ours.aclose()
        with pytest.raises(TransportEnded) as ended:
            await transport.handshake(accept_all)
        assert ended.value.code is None


async def test_binary_messages_are_put_together_and_sent_in_fragments(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_websocket(MSGPACK) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_frame, Opcode.BINARY, b"\x92\xff")
            received = list(await transport.receive())
            for opcode, data, fin in ((Opcode.BINARY, b"\x92", False), (Opcode.CONT, b"\xff\xc1", True)):
                nursery.start_soon(partial(peer.send_frame, opcode, data, fin=fin))
                await trio.testing.wait_all_tasks_blocked()
                received += await transport.receive()
            assert received == [b"\x92\xff", b"\x92\xff\xc1"]
            await transport.send([b"\xff" * (MAX_PACK_BYTES + 1), b"\xfe"])
            await trio.testing.wait_all_tasks_blocked()
            sent = [(frame.opcode, len(frame.data), frame.fin) for frame in peer.frames]
            assert sent == [
                (Opcode.BINARY, MAX_PACK_BYTES, False),
                (Opcode.CONT, 1, True),
                (Opcode.BINARY, 1, True),
            ]
            nursery.cancel_scope.cancel()
