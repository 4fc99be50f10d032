"""MessagePack: the same promises in another encoding, and the same values to and from those who speak JSON."""

import json
import struct
from typing import Any

import ormsgpack
import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import JSON, MSGPACK, NDJSON, Subprotocol
from tests.packed import read_packed
from tests.records import Word, read_json
from tests.scenario import Party, Scenario, open_scenario

ODD = (
    b"\xde\x00\x04"  # an object of four members, in more bytes than it takes
    b"\xda\x00\x01a\xd3\x00\x00\x00\x00\x00\x00\x00\x05"
    b"\xa1a\xd1\xff\xfe"  # the same name again
    b"\xa1f\xca\x3d\xcc\xcc\xcd"  # 0.1 in 32 bits
    b"\xd9\x00\xdd\x00\x00\x00\x01\xc0"
)
"""What no library would write like that."""

ODD_VALUE = {"a": 5, "b": -2, "f": struct.unpack(">f", b"\x3d\xcc\xcc\xcd")[0], "": [None]}


def hear_raw(party: Party) -> list[bytes]:
    """All that a party hears from here on, as it is on the wire."""
    heard: list[bytes] = []
    take = party.record.heard

    def listen(text: bytes) -> list[Word]:
        heard.append(text)
        return take(text)

    party.record.heard = listen  # type: ignore[method-assign]
    return heard


def packed_object(members: dict[str, bytes]) -> bytes:
    """An object of members that are packed already."""
    head = bytes((0x80 + len(members),))
    return head + b"".join(ormsgpack.packb(name) + value for name, value in members.items())


def packed_request(method: str, params: bytes, *, id: int | None = 1) -> bytes:
    """A request or notification with packed params."""
    members = {"jsonrpc": ormsgpack.packb("2.0"), "method": ormsgpack.packb(method), "params": params}
    return packed_object(members | ({} if id is None else {"id": ormsgpack.packb(id)}))


def packed_call(payload: bytes, *, id: int | None = 1) -> bytes:
    """A ``route.call`` with a packed payload."""
    params = {name: ormsgpack.packb(name_) for name, name_ in (("resource_id", "doc:7"), ("method", "work"))}
    params |= {"trace_id": ormsgpack.packb(f"packed-{id}"), "params": payload}
    return packed_request("route.call", packed_object(params), id=id)


async def open_owner(scenario: Scenario, subprotocol: Subprotocol, **params: Any) -> Party:
    owner = await scenario.instance("owner", subprotocol=subprotocol, **params)
    await owner.ask("resource.register", resource_ids=["doc:7"])
    return owner


# --- between two who speak it ---------------------------------------------------------------------------------------


async def test_a_payload_passes_as_the_senders_own_bytes(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        asked, answered = hear_raw(owner), hear_raw(caller)
        pending = caller.expect(1)
        await caller.say_text(packed_call(ODD))
        request = await owner.next("work")
        assert b"\xa6params" + ODD in asked[-1]
        number = ormsgpack.packb(request["id"])
        version = ormsgpack.packb("2.0")
        await owner.say_text(packed_object({"jsonrpc": version, "id": number, "result": ODD}))
        await pending.result()
        assert answered[-1] == packed_object({"jsonrpc": version, "id": b"\x01", "result": ODD})


async def test_an_error_and_a_part_pass_as_the_callees_own_bytes(autojump_clock: MockClock) -> None:
    error = packed_object({"code": b"\xd2\x00\x00\x00\x07", "message": ormsgpack.packb("no"), "data": ODD})
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        answered = hear_raw(caller)
        pending = await caller.start_call("doc:7", meta={"progress": True})
        request = await owner.next("work")
        number = ormsgpack.packb(request["id"])
        params = packed_object({"value": ODD, "token": number})
        await owner.say_text(packed_request("$/progress", params, id=None))
        version = ormsgpack.packb("2.0")
        await owner.say_text(packed_object({"id": number, "error": error, "jsonrpc": version}))
        assert (await pending.refusal()).code == 7
        assert answered[-2].endswith(b"\xa5value" + ODD)
        assert b"\xa5error" + error in answered[-1]


async def test_a_notification_of_an_owner_passes_as_its_own_bytes(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        heard = hear_raw(caller)
        pending = await caller.start_call("doc:7")
        request = await owner.next("work")
        params = {"resource_id": "doc:7", "method": "changed"}
        params["session_id"] = request["meta"]["caller"]["session_id"]
        packed = {name: ormsgpack.packb(value) for name, value in params.items()}
        pushed = owner.expect(9)
        await owner.say_text(packed_request("session.notify", packed_object({"params": ODD} | packed), id=9))
        assert (await pushed.result())["delivered_to_outbox"] is True
        meta = (await caller.next("changed"))["meta"]
        assert meta == {"resource_id": "doc:7", "instance_id": "owner"}
        assert b"\xa6params" + ODD in heard[-1]
        await owner.answer(request)
        await pending.result()


async def test_on_a_bound_connection_all_params_are_the_payload(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", target="/resources/doc:7", subprotocol=MSGPACK)
        heard = hear_raw(owner)
        for method in ("work", "route.call", "session.notify"):
            pending = caller.expect(1)
            await caller.say_text(packed_request(method, ODD))
            await owner.answer(await owner.next(method), 5)
            assert await pending.result() == 5
            assert b"\xa6params" + ODD in heard[-1]


# --- to and from JSON -----------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    {},
    [],
    {"": {}},
    [[], {}, [[]]],
    [0, -1, 127, 128, -32, -33, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)],
    [0.1, -2.5, 1e300, 5e-324, 1e22, -0.0, 3.0],
    ["", "zażółć", "\u2028\U0001f600", '\0\n\x1f"\\/', "x" * 300],
    {"a": None, "b": True, "ł": [False, {"c": "d"}]},
    {f"member {number}": number for number in range(70_000 // 20)},
)


@pytest.mark.parametrize(
    ("caller_speaks", "owner_speaks"), [(MSGPACK, JSON), (NDJSON, MSGPACK), (MSGPACK, MSGPACK)]
)
async def test_the_same_value_passes_both_ways(
    autojump_clock: MockClock, caller_speaks: Subprotocol, owner_speaks: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, owner_speaks)
        caller = await scenario.connect("caller", subprotocol=caller_speaks)
        for value in VALUES:
            pending = await caller.start_call("doc:7", params=value, meta={"progress": True})
            request = await owner.next("work")
            assert same(request["params"], value)
            await owner.notify("$/progress", token=request["id"], value=value)
            assert same((await caller.next("$/progress"))["params"]["value"], value)
            await owner.answer(request, value)
            assert same(await pending.result(), value)
            pending = await caller.start_call("doc:7")
            await owner.fail(await owner.next("work"), -5, "ł", data=value)
            assert same((await pending.answer())["error"], {"code": -5, "message": "ł", "data": value})
        session_id = (await caller.ask("session.info"))["session_id"]
        for value in VALUES:
            await owner.ask(
                "session.notify", session_id=session_id, resource_id="doc:7", method="push", params=value
            )
            assert same((await caller.next("push"))["params"], value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of the same types."""
    return json.dumps(one) == json.dumps(other)


async def test_what_is_written_oddly_is_the_same_value_as_json(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, JSON)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        pending = caller.expect(1)
        await caller.say_text(packed_call(ODD.replace(b"\xa1a\xd1", b"\xa1b\xd1")))
        request = await owner.next("work")
        assert same(request["params"], ODD_VALUE)
        await owner.answer(request, 1)
        await pending.result()


BEYOND = ("[18446744073709551616]", "[-9223372036854775809]", "[1e400]", '{"a":' + "9" * 4000 + "}")


@pytest.mark.parametrize("number", BEYOND)
async def test_what_messagepack_cannot_say_is_refused(autojump_clock: MockClock, number: str) -> None:
    async with open_scenario() as scenario:
        packing = await open_owner(scenario, MSGPACK)
        plain = await scenario.instance("plain", subprotocol=JSON)
        await plain.ask("resource.register", resource_ids=["doc:8"])
        caller = await scenario.connect("caller", subprotocol=JSON)
        packer = await scenario.connect("packer", subprotocol=MSGPACK)
        pending = caller.expect(1)
        asked = '{"jsonrpc":"2.0","id":1,"method":"route.call","params":{"resource_id":"doc:7","method":"a","params":%s}}'
        await caller.say_text(asked % number)
        refused = await pending.refusal()
        assert (refused.code, refused.is_routers) == (-32602, True)
        assert refused.data["errors"][0]["path"] == "params"
        pending = await packer.start_call("doc:8")
        request = await plain.next("work")
        await plain.say_text(f'{{"jsonrpc":"2.0","id":{request["id"]},"result":{number}}}')
        refused = await pending.refusal()
        assert (refused.code, refused.type, refused.data["delivery"]) == (502, "invalid_answer", "unknown")
        pending = await packer.start_call("doc:8", meta={"progress": True})
        request = await plain.next("work")
        await plain.say_text(
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":%s}}'
            % (request["id"], number)
        )
        assert (await pending.refusal()).code == 502
        await plain.next("$/cancelRequest")
        assert not packing.has_news


async def test_what_grows_over_the_limit_in_the_other_encoding_is_refused(autojump_clock: MockClock) -> None:
    settings = Settings(max_message_bytes=20_000)
    floats, escapes = [1.5] * 2_800, "\x01" * 10_000
    async with open_scenario(settings) as scenario:
        packing = await open_owner(scenario, MSGPACK)
        plain = await scenario.instance("plain", subprotocol=JSON)
        await plain.ask("resource.register", resource_ids=["doc:8"])
        caller = await scenario.connect("caller", subprotocol=JSON)
        packer = await scenario.connect("packer", subprotocol=MSGPACK)
        for sender, resource_id, value in ((caller, "doc:7", floats), (packer, "doc:8", escapes)):
            refused = await (await sender.start_call(resource_id, params=[value])).refusal()
            assert (refused.code, refused.is_routers) == (-32602, True)
            assert not plain.has_news and not packing.has_news
        pending = await packer.start_call("doc:8")
        await plain.answer(await plain.next(), floats)
        assert (await pending.refusal()).type == "answer_too_large"
        pending = await caller.start_call("doc:7")
        await packing.answer(await packing.next(), escapes)
        assert (await pending.refusal()).type == "answer_too_large"


async def test_a_call_that_moves_between_encodings_arrives_as_its_sender_wrote_it(
    autojump_clock: MockClock,
) -> None:
    odd = '{"a": 1, "a": [1.10],\t"long":"' + "x" * 70_000 + '"}'
    async with open_scenario() as scenario:
        first = await scenario.connect("first", subprotocol=MSGPACK, buffer_bytes=0)
        await first.ask("instance.register", service_name="service", instance_id="first")
        await first.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller", subprotocol=JSON)
        first.stall()
        waiting = [await caller.start_call("doc:7", params={"tag": number}) for number in range(3)]
        pending = caller.expect(99)
        await caller.say_text(
            '{"jsonrpc":"2.0","id":99,"method":"route.call","params":{"resource_id":"doc:7","method":"work",'
            f'"trace_id":"moved","wait_for_owner_seconds":20,"params":{odd}}}}}'
        )
        await trio.sleep(0.1)
        first.drop()
        second = await scenario.connect("second", subprotocol=JSON)
        heard = hear_raw(second)
        await second.ask("instance.register", service_name="service", instance_id="second")
        await second.ask("resource.register", resource_ids=["doc:7"])
        await second.answer(await second.next("work"), 1)
        await pending.result()
        assert any(f'"params":{odd}'.encode() in text for text in heard)
        for lost in waiting:
            assert (await lost.refusal()).code == 502


async def test_who_waited_in_line_is_refused_when_its_turn_comes_and_the_next_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK, max_concurrency=1)
        caller = await scenario.connect("caller", subprotocol=JSON)
        calls = [await caller.start_call("doc:7", params=[number]) for number in (1, 2**70, 3)]
        await owner.answer(await owner.next("work"), "first")
        request = await owner.next("work")
        assert request["params"] == [3]
        await owner.answer(request, "third")
        assert await calls[0].result() == "first"
        assert (await calls[1].refusal()).code == -32602
        assert await calls[2].result() == "third"


# --- what JSON cannot say -------------------------------------------------------------------------------------------

UNSAYABLE = {
    "binary": b"\x91\xc4\x01x",
    "binary of 16 bits": b"\x91\xc5\x00\x01x",
    "an extension": b"\x91\xd4\x05x",
    "a long extension": b"\x91\xc7\x03\x05xyz",
    "a timestamp": b"\x91\xd6\xff\x00\x00\x00\x01",
    "a number as a key": b"\x81\x01\x02",
    "binary as a key": b"\x81\xc4\x01a\x01",
    "null as a key, deep inside": b"\x91\x81\xa1a\x91\x81\xc0\x01",
    "NaN": b"\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "infinity": b"\x91\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    "NaN in 32 bits": b"\x91\xca\x7f\xc0\x00\x00",
    "minus infinity in 32 bits": b"\x91\xca\xff\x80\x00\x00",
    "no UTF-8": b"\x91\xa1\xff",
    "half a surrogate pair": b"\x91\xa3\xed\xa0\x80",
    "nested too deeply": b"\x91" * 1500 + b"\x90",
}


@pytest.mark.parametrize("what", UNSAYABLE)
async def test_what_json_cannot_say_is_no_request_and_no_answer(autojump_clock: MockClock, what: str) -> None:
    value = UNSAYABLE[what]
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        for method, params in (
            ("route.call", None),
            ("session.ping", value),
            ("resource.register", packed_object({"resource_ids": value})),
            ("nonsense", value),
        ):
            pending = caller.expect(1)
            await caller.say_text(packed_call(value) if params is None else packed_request(method, params))
            refused = await pending.refusal()
            assert (refused.code, refused.type, refused.is_routers) == (-32602, "invalid_params", True)
        await caller.say_text(packed_call(value, id=None))
        await caller.say_text(packed_request("$/cancelRequest", value, id=None))
        pending = await caller.start_call("doc:7", meta={"progress": True})
        request = await owner.next("work")
        number, version = ormsgpack.packb(request["id"]), ormsgpack.packb("2.0")
        params = packed_object({"token": number, "value": value})
        await owner.say_text(packed_request("$/progress", params, id=None))
        await owner.say_text(packed_object({"jsonrpc": version, "id": number, "result": value}))
        refused = await pending.refusal()
        assert (refused.code, refused.type, refused.data["delivery"]) == (502, "invalid_answer", "unknown")
        assert not caller.strays and not caller.has_news and not owner.has_news
        assert (await caller.ask("session.info"))["protocol"] == MSGPACK


@pytest.mark.parametrize("what", UNSAYABLE)
async def test_a_notification_that_json_cannot_say_is_not_delivered_without_its_params(
    autojump_clock: MockClock, what: str
) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", target="/resources/doc:7", subprotocol=MSGPACK)
        await caller.say_text(packed_request("note", UNSAYABLE[what], id=None))
        await caller.ask("session.ping")
        await owner.ask("session.ping")
        assert not owner.has_news and not caller.strays


MALFORMED = {
    "nothing": b"",
    "a value that does not exist": b"\xc1",
    "cut off": b"\x82\xa7jsonrpc\xa32.0",
    "a string that is cut off": b"\xa5abc",
    "more than one value": packed_request("session.ping", b"\x80") + b"\xc0",
    "a list of four thousand million": b"\xdd\xff\xff\xff\xff",
    "an object of as many": b"\xdf\xff\xff\xff\xff\xa1a",
    "a string of as many bytes": b"\xdb\xff\xff\xff\xffabc",
    "JSON": b'{"jsonrpc":"2.0","id":1,"method":"session.ping"}',
    "brackets without end": b"\x91" * 300_000,
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_no_messagepack_is_a_parse_error(autojump_clock: MockClock, what: str) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect(subprotocol=MSGPACK)
        await party.say_text(MALFORMED[what])
        await party.ask("session.ping")
        [answer] = party.strays
        assert (answer["error"]["code"], answer["id"]) == (-32700, None)


@pytest.mark.parametrize(
    ("message", "code", "request_id"),
    [
        (ormsgpack.packb(5), -32600, None),
        (ormsgpack.packb("text"), -32600, None),
        (ormsgpack.packb({}), -32600, None),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": True, "method": "session.ping"}), -32600, None),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": 1.5, "method": "session.ping"}), -32600, None),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": None, "method": "session.ping"}), -32600, None),
        (packed_object({"id": b"\xc4\x01a", "jsonrpc": b"\xa32.0", "method": b"\xa1a"}), -32600, None),
        (ormsgpack.packb({"jsonrpc": "1.0", "id": 5, "method": "session.ping"}), -32600, 5),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": 5, "method": 1}), -32600, 5),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": 5, "method": "session.ping", "params": 1}), -32600, 5),
        (ormsgpack.packb({"jsonrpc": "2.0", "id": 2**64 - 1, "method": "no.such"}), -32601, 2**64 - 1),
        (b"\x81\x01\x02", -32600, None),
        (ormsgpack.packb([]), -32600, None),
    ],
)
async def test_what_is_no_request_is_answered_as_in_json(
    autojump_clock: MockClock, message: bytes, code: int, request_id: int | None
) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect(subprotocol=MSGPACK)
        await party.say_text(message)
        await party.ask("session.ping")
        [answer] = party.strays
        assert (answer["error"]["code"], answer["id"]) == (code, request_id)


async def test_the_routers_own_params_are_as_strict_as_ever(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.instance("instance", subprotocol=MSGPACK)
        for method, params, path in (
            ("resource.register", {"resource_ids": "doc:7"}, "resource_ids"),
            ("resource.register", {"resource_ids": [5]}, "resource_ids.0"),
            ("resource.register", {"resource_ids": ["a"], "force": 1}, "force"),
            ("resource.query", {"limit": 5.0}, "limit"),
            ("route.call", {"resource_id": "a", "method": 5}, "method"),
            ("route.call", {"resource_id": "a", "method": "b", "params": 5}, "params"),
            ("route.call", {"resource_id": "a", "method": "b", "unknown": []}, "unknown"),
        ):
            refused = await party.refused(method, **params)
            assert [error["path"] for error in refused.data["errors"]] == [path], refused.error
        for number, again in enumerate((b"\xa1b", b"\x05")):
            pending = party.expect(f"twice-{number}")
            twice = b"\x82\xacresource_ids\x91\xa1a\xacresource_ids\x91" + again
            members = {"jsonrpc": b"\xa32.0", "id": ormsgpack.packb(f"twice-{number}"), "params": twice}
            await party.say_text(packed_object(members | {"method": ormsgpack.packb("resource.register")}))
            if number:
                assert (await pending.refusal()).code == -32602
            else:
                assert (await pending.result())["registered"] == ["b"]


# --- the rest of the protocol ---------------------------------------------------------------------------------------


async def test_a_batch_is_answered_by_one_array(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_batch_messages=20)) as scenario:
        owner = await open_owner(scenario, JSON)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        heard = hear_raw(caller)
        members: list[bytes] = [packed_request("session.ping", b"\x80", id=number) for number in range(17)]
        pending = [caller.expect(number) for number in range(19)]
        members += [packed_call(b"\x91\xc4\x01x", id=17), packed_call(b"\x90", id=18), b"\x05"]
        await caller.say_text(b"\xdc\x00\x14" + b"".join(members))
        await owner.answer(await owner.next("work"), [0.5])
        assert [(await one.answer())["id"] for one in pending] == list(range(19))
        assert (await pending[17].refusal()).code == -32602
        assert await pending[18].result() == [0.5]
        [stray] = caller.strays
        assert stray["error"]["code"] == -32600
        assert len(read_packed(heard[-1])) == 20
        for count in (21, 2_000_000_000):
            await caller.say_text(b"\xdd" + count.to_bytes(4) + b"\x05" * 21)
        await caller.ask("session.ping")
        assert [stray["error"]["code"] for stray in caller.strays[1:]] == [-32600, -32700]


async def test_an_answer_that_would_take_a_batch_over_the_limit_is_an_error_in_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_message_bytes=10_000)) as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        heard = hear_raw(caller)
        pending = [caller.expect(number) for number in range(3)]
        calls = [{"id": number, "method": "route.call"} for number in range(3)]
        await caller.say_batch(*(call | {"params": caller.call_params("doc:7")} for call in calls))
        for _ in range(3):
            await owner.answer(await owner.next("work"), "x" * 4_000)
        results = [await one.answer() for one in pending]
        assert ["error" in answer for answer in results] == [False, False, True]
        assert results[2]["error"]["data"]["type"] == "answer_too_large"
        assert len(heard[-1]) <= 10_000


async def test_meta_cancels_and_notices_are_as_in_json(autojump_clock: MockClock) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=MSGPACK)
        pending = await caller.start_call(
            "doc:7", meta={"traceparent": traceparent, "progress": True}, idempotency_key="once"
        )
        request = await owner.next("work")
        meta = request["meta"]
        assert (meta["traceparent"], meta["progress"]) == (traceparent, True)
        assert meta["idempotency_key"] == "once" and isinstance(meta["epoch"], int)
        assert "params" not in request
        await caller.cancel(pending)
        assert (await owner.next("$/cancelRequest"))["params"] == {"id": request["id"]}
        assert (await pending.refusal()).type == "call_cancelled"
        pending = await caller.start_call("doc:7", meta={})
        await owner.answer(await owner.next("work"))
        assert set((await pending.answer())["meta"]) == {
            "trace_id", "resource_id", "instance_id", "epoch", "duration_ms"
        }  # fmt: skip
        await scenario.router.drain()
        await owner.next("session.closing")


async def test_a_plain_instance_gets_no_meta(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK, plain=True)
        for subprotocol in (MSGPACK, JSON):
            caller = await scenario.connect(subprotocol=subprotocol)
            pending = await caller.start_call("doc:7", params={"a": 1})
            request = await owner.next("work")
            assert set(request) == {"jsonrpc", "id", "method", "params"}
            await owner.answer(request)
            await pending.result()


async def test_a_callee_that_refuses_an_epoch_as_stale_is_understood(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        caller = await scenario.connect("caller", subprotocol=JSON)
        pending = await caller.start_call("doc:7")
        request = await owner.next("work")
        await owner.fail(request, 409, "stale epoch", data={"type": "stale_epoch"})
        refused = await pending.refusal()
        assert (refused.type, refused.data["reason"], refused.data["delivery"]) == (
            "unavailable",
            "moved",
            "not_delivered",
        )


def test_the_reader_of_the_tests_sees_what_json_says() -> None:
    for value in (*VALUES, ODD_VALUE):
        assert read_packed(ormsgpack.packb(value)) == read_json(json.dumps(value))


# --- metadata -------------------------------------------------------------------------------------------------------


async def test_metadata_is_the_same_whoever_gives_it_and_whoever_asks(autojump_clock: MockClock) -> None:
    attributes = {"pages": 3, "ratio": 0.1, "title": "Über 1 €", "parts": [None, True, {"": []}]}
    given = {"resource_type": "document", "tags": ["é"], "attributes": attributes, "ttl_seconds": 60}
    async with open_scenario() as scenario:
        packed = await open_owner(scenario, MSGPACK)
        await packed.ask("resource.register", resource_ids=["doc:8"], metadata={"doc:8": given})
        plain = await scenario.instance("plain", subprotocol=JSON)
        await plain.ask("resource.register", resource_ids=["doc:9"], metadata={"doc:9": given})
        for party in (packed, plain):
            page = await party.ask("resource.query", resource_ids=["doc:8", "doc:9"])
            found = [info["metadata"] for info in page["resources"]]
            assert [metadata["attributes"] for metadata in found] == [attributes, attributes]
            assert [metadata["tags"] for metadata in found] == [["é"], ["é"]]
            assert [metadata["ttl_seconds"] for metadata in found] == [60, 60]
        update = {"attributes": {"pages": None, "by": [1.5]}}
        resource = await packed.ask(
            "resource.update", resource_id="doc:8", metadata=update, merge=True, expected_version=1
        )
        expected = {name: value for name, value in attributes.items() if name != "pages"} | {"by": [1.5]}
        assert resource["resource"]["metadata"]["attributes"] == expected
        renewed = await packed.ask("resource.renew", resource_ids=["doc:8"], ttl_seconds=1.5)
        assert list(renewed["expires_at"]) == ["doc:8"]
        await trio.sleep(2)
        assert (await packed.next("resource.lost"))["params"] == {
            "resource_ids": ["doc:8"],
            "cause": "expired",
        }


@pytest.mark.parametrize(
    "attributes", [b"\x81\xa1a\xc4\x01x", b"\x81\x01\xc0", b"\x81\xa1a\xcb\x7f\xf8" + bytes(6)]
)
async def test_metadata_that_json_cannot_say_is_refused_and_nothing_is_granted(
    attributes: bytes, autojump_clock: MockClock
) -> None:
    async with open_scenario() as scenario:
        owner = await open_owner(scenario, MSGPACK)
        metadata = packed_object({"doc:8": packed_object({"attributes": attributes})})
        params = packed_object({"resource_ids": ormsgpack.packb(["doc:8"]), "metadata": metadata})
        pending = owner.expect(9)
        await owner.say_text(packed_request("resource.register", params, id=9))
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        assert (await owner.ask("resource.query", resource_ids=["doc:8"]))["resources"] == []
