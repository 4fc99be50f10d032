"""The outbox: what is ready goes out together, and what was not taken can be taken back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute.client import Client
from resroute.client.outbox import SOFT_BYTES, Outbox
from tests.client.scripted import Json, ScriptedRouter, open_scripted


def lines(outbox: Outbox, max_bytes: int = 64 * 1024) -> list[list[bytes]]:
    taken = []
    while len(outbox):
        taken.append(outbox.take(max_bytes))
    return taken


def test_what_waits_is_taken_in_order_up_to_a_size_with_its_joints() -> None:
    outbox = Outbox()
    for text in (b"aaa", b"bbb", b"ccc", b"ddd"):
        outbox.put(text)
    assert lines(outbox, 7) == [[b"aaa", b"bbb"], [b"ccc", b"ddd"]]
    for text in (b"aaa", b"bbb", b"ccc"):
        outbox.put(text)
    assert lines(outbox, 6) == [[b"aaa"], [b"bbb"], [b"ccc"]]


def test_a_line_that_is_larger_goes_alone() -> None:
    outbox = Outbox()
    for text in (b"a", b"b" * 20, b"c", b"d"):
        outbox.put(text)
    assert lines(outbox, 10) == [[b"a"], [b"b" * 20], [b"c", b"d"]]
    outbox.put(b"a")
    outbox.put(b"b")
    assert lines(outbox, 0) == [[b"a"], [b"b"]]


def test_a_withdrawn_line_leaves_no_trace_and_one_that_was_taken_stays_taken() -> None:
    outbox = Outbox()
    first, second = outbox.put(b"first"), outbox.put(b"second")
    outbox.withdraw(first)
    assert lines(outbox) == [[b"second"]]
    outbox.withdraw(second)
    assert not first.handed_over
    assert second.handed_over


async def test_a_full_outbox_lets_nobody_in_until_there_is_room_again(autojump_clock: MockClock) -> None:
    outbox = Outbox()
    entries = [outbox.put(b"x" * (SOFT_BYTES // 2)) for _ in range(3)]
    came_in = []

    async def enter(name: str) -> None:
        await outbox.wait_room()
        came_in.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter, "a")
        nursery.start_soon(enter, "b")
        await wait_all_tasks_blocked()
        outbox.withdraw(entries[0])
        await wait_all_tasks_blocked()
        assert came_in == []
        outbox.take(1)
        await wait_all_tasks_blocked()
        assert sorted(came_in) == ["a", "b"]


async def test_a_finished_outbox_gives_what_it_has_and_takes_nothing(autojump_clock: MockClock) -> None:
    outbox = Outbox()
    outbox.put(b"x" * SOFT_BYTES)
    outbox.finish()
    dropped = outbox.put(b"late")
    await outbox.wait_room()
    assert await outbox.wait_some()
    assert [len(line) for line in outbox.take(1)] == [SOFT_BYTES]
    assert not await outbox.wait_some()
    assert not dropped.handed_over


@asynccontextmanager
async def calls_at_once(
    count: int, text: str, **options: Any
) -> AsyncGenerator[tuple[ScriptedRouter, list[Json]]]:
    """A scripted router that got ``count`` calls in the same moment, and what it got."""
    async with open_scripted(**options) as (client, router), trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(_call, client, text)
        yield router, [await router.expect("route.call") for _ in range(count)]
        nursery.cancel_scope.cancel()


async def _call(client: Client, text: str) -> None:
    await client.call("m", {"text": text}, service_name="s")


async def test_calls_of_the_same_moment_share_one_message(autojump_clock: MockClock) -> None:
    async with calls_at_once(100, "x") as (router, requests):
        assert len(router.frames) == 1
        assert len({request["id"] for request in requests}) == 100


async def test_a_message_of_several_calls_stays_below_64_kib(autojump_clock: MockClock) -> None:
    async with calls_at_once(100, "x" * 1000) as (router, _):
        assert 2 <= len(router.frames) <= 3
        assert max(map(len, router.frames)) <= 64 * 1024
        assert max(map(len, router.frames)) > 62 * 1024


async def test_a_larger_call_is_a_message_of_its_own(autojump_clock: MockClock) -> None:
    async with calls_at_once(2, "x" * 70_000) as (router, _):
        assert len(router.frames) == 2


async def test_without_ndjson_every_call_is_a_message_of_its_own(autojump_clock: MockClock) -> None:
    async with calls_at_once(5, "x", subprotocols=["resroute.v1"]) as (router, _):
        assert len(router.frames) == 5
        assert router.request is not None
        assert router.request.headers["Sec-WebSocket-Protocol"] == "resroute.v1.ndjson, resroute.v1"


@pytest.mark.parametrize("text", ["line\nbreak", "\u2028 \x85 \x0b", "💥 ß"])
async def test_no_text_breaks_a_line(text: str, autojump_clock: MockClock) -> None:
    async with calls_at_once(3, text) as (router, requests):
        assert [request["params"]["params"]["text"] for request in requests] == [text] * 3
        assert len(router.frames[0].split("\n")) == 3


async def test_lines_that_come_together_are_taken_apart_and_empty_ones_ignored(
    autojump_clock: MockClock,
) -> None:
    answers = {}
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def ask(n: int) -> None:
            answers[n] = await client.call("m", {"n": n}, service_name="s")

        for n in range(3):
            nursery.start_soon(ask, n)
        requests = [await router.expect("route.call") for _ in range(3)]
        texts = [
            f'{{"jsonrpc": "2.0", "id": {request["id"]}, "result": "{request["params"]["params"]["n"]}\u2028"}}'
            for request in reversed(requests)
        ]
        await router.send_text("\n" + "\n\n".join(texts) + "\n")
    assert answers == {0: "0\u2028", 1: "1\u2028", 2: "2\u2028"}
    assert client.statistics().unreadable_messages == 0
