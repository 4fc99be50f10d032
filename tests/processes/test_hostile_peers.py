"""Whatever a stranger puts on a socket costs that stranger alone: calls of others go on, and nothing of it is left."""

import trio

from tests.fuzz import said
from tests.fuzz.talking import PING, call, request, short
from tests.fuzz.wrong import FRAMES, GOOD_HANDSHAKES, HANDSHAKES, MESSAGES
from tests.processes.hostile import SocketPeer, connect, open_bystanders, shake_hands
from tests.processes.running import open_router


async def test_bytes_that_are_no_frames_close_with_their_code() -> None:
    async with open_router() as router, open_bystanders(router) as bystanders:
        for sizes in ([], [1]):
            for data, code in FRAMES:
                async with shake_hands(router) as peer:
                    for piece in said.chopped(data, sizes):
                        await peer.send(piece)
                    assert await peer.wait_closed() == code, data
            await bystanders.wait_served()


async def test_handshakes_that_may_not_be_are_refused() -> None:
    async with open_router() as router, open_bystanders(router):
        for data, status in HANDSHAKES:
            async with connect(router) as peer:
                await peer.send(data)
                assert await peer.wait_closed() is None
                assert peer.refusal is not None and peer.refusal.startswith(b"HTTP/1.1 %d " % status), data
        for data in GOOD_HANDSHAKES:
            async with connect(router) as peer:
                await peer.send(data)
                while not peer.has_opened:
                    await peer.wait_more()


async def test_origins_that_are_allowed_may_connect() -> None:
    allowed = "https://a.example"
    async with open_router(allowed_origins=allowed) as router, open_bystanders(router):
        for origin, is_taken in (("https://a.example", True), ("https://b.example", False), ("null", False)):
            async with connect(router) as peer:
                await peer.send(said.handshake(extra=f"Origin: {origin}\r\n".encode()))
                while not peer.has_opened and not peer.over.is_set():
                    await peer.wait_more()
                assert peer.has_opened is is_taken


async def test_messages_that_are_wrong_are_answered_and_the_session_lives() -> None:
    async with open_router() as router, open_bystanders(router):
        async with shake_hands(router) as peer:
            for text, answers in MESSAGES:
                await peer.say(text, PING % '"behind"')
                heard = [short(answer) for answer in await peer.hear(len(answers) + 1)]
                assert heard == [*answers, ("behind", "result")], text
        async with shake_hands(router, "resroute.v1.ndjson") as peer:
            lines = [PING % number for number in range(50)]
            lines[20:20] = ["", "  ", "{bad", "\t\r"]
            await peer.say("\n".join(lines))
            heard = [short(answer) for answer in await peer.hear(51)]
            assert heard.count((None, -32700, "parse_error")) == 1
            assert {answer for answer in heard if answer[-1] == "result"} == {
                (number, "result") for number in range(50)
            }


async def test_vanishing_anywhere_leaves_nothing() -> None:
    async with open_router() as router, open_bystanders(router):
        opening = said.handshake("resroute.v1")
        for data in (opening[:1], opening[:-1], said.text(b"abc"), said.fragments(b"abc" * 100, 50)):
            for length in {0, 1, 2, 5, 7, len(data) // 2, len(data) - 1}:
                for leave in (SocketPeer.vanish, SocketPeer.reset):
                    if data[:1] == b"G":
                        async with connect(router) as peer:
                            await peer.send(data[:length])
                            leave(peer)
                    else:
                        async with shake_hands(router) as peer:
                            await peer.send(data[:length])
                            leave(peer)


async def test_one_byte_at_a_time_is_as_good_as_all_at_once() -> None:
    async with open_router() as router, open_bystanders(router), connect(router) as peer:
        for byte in said.handshake("resroute.v1"):
            await peer.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        while not peer.has_opened:
            await peer.wait_more()
        for byte in said.text((PING % 1).encode()) + said.frame(said.PING, b"p"):
            await peer.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert [short(answer) for answer in await peer.hear()] == [(1, "result")]


async def test_who_never_finishes_the_handshake_is_hung_up_on() -> None:
    opening = said.handshake()
    async with open_router(handshake_timeout_seconds=0.5) as router, open_bystanders(router) as bystanders:
        async with trio.open_nursery() as nursery:

            async def stall(length: int) -> None:
                began = trio.current_time()  # before the router can have begun to count
                async with connect(router) as peer:
                    await peer.send(opening[:length])
                    while not peer.over.is_set():  # drop by drop is no faster
                        await peer.send(opening[length : length + 1])
                        length = min(length + 1, len(opening) - 1)
                        await trio.sleep(0.05)
                    assert not peer.has_opened
                    assert trio.current_time() - began >= 0.4

            for number in range(50):
                nursery.start_soon(stall, number)
        await bystanders.wait_served()


async def test_answers_that_nobody_asked_for_reach_nobody() -> None:
    async with open_router() as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad", instance_id="bad-1")
            await owner.ask("resource.register", resource_ids=["bad:1"])
            await caller.say(call(1, "bad:1"))
            [delivered] = await owner.hear()
            number = delivered["id"]
            for guess in range(1, number + 50):
                for thief in (caller, owner) if guess != number else (caller,):
                    await thief.say(f'{{"jsonrpc":"2.0","id":{guess},"result":"stolen"}}')
            await caller.ask("session.ping")
            await owner.ask("session.ping")
            for result in ("first", "second"):
                await owner.say(f'{{"jsonrpc":"2.0","id":{number},"result":"{result}"}}')
            assert await caller.hear() == [{"jsonrpc": "2.0", "id": 1, "result": "first"}]
            assert (await caller.ask("session.ping"))["result"]
        assert (await router.metrics())["dropped_answers_total"] >= 2 * number


async def test_messages_that_are_not_complete_count_as_memory() -> None:
    size = 400_000
    async with open_router(max_outbox_total_bytes=3_000_000) as router, open_bystanders(router):
        async with trio.open_nursery() as nursery:
            closed: list[int | None] = []

            async def hoard() -> None:
                async with shake_hands(router) as peer:
                    await peer.send(said.frame(said.TEXT, b" " * size, fin=False))
                    closed.append(await peer.wait_closed())
                    if len(closed) == 8:
                        nursery.cancel_scope.cancel()

            for _ in range(15):
                nursery.start_soon(hoard)
        assert set(closed) == {4008}


async def test_batches_over_sockets() -> None:
    async with open_router() as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad", instance_id="bad-1")
            await owner.ask("resource.register", resource_ids=["bad:1"])
            members = [call(f"call-{number}", "bad:1") for number in range(20)]
            await caller.say(f"[{','.join([*members, PING % 1, '7'])}]")
            delivered = await owner.hear(20)
            assert (await router.metrics())["calls_in_flight"] >= 20
            for number in range(19):
                await caller.say(
                    '{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"call-%d"}}' % number
                )
            notices = await owner.hear(19)
            assert [notice["params"]["id"] for notice in notices] == [each["id"] for each in delivered[:19]]
            await owner.say(f'{{"jsonrpc":"2.0","id":{delivered[19]["id"]},"result":"done"}}')
            [answers] = await caller.hear()
            kinds = sorted(str(short(answer)) for answer in answers)
            assert kinds == sorted(
                str(kind)
                for kind in (
                    *((f"call-{number}", 499, "call_cancelled") for number in range(19)),
                    *(("call-19", "result"), (1, "result"), (None, -32600, "invalid_request")),
                )
            )


async def test_a_batch_of_a_thousand_holds_nobody_up() -> None:
    async with open_router() as router, open_bystanders(router) as bystanders:
        async with shake_hands(router) as peer:
            for _ in range(3):
                await peer.say(f"[{','.join(PING % number for number in range(1000))}]")
            for answers in await peer.hear(3):
                assert len(answers) == 1000
            await peer.say(f"[{','.join(request('session.info', '{}', str(n)) for n in range(1000))}]")
            [answers] = await peer.hear()
            assert len(peer.texts[-1]) <= 1024 * 1024
            assert len(answers) == 1000
        await bystanders.wait_served()
