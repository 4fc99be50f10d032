"""How an instance answers calls."""

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, Caller, Client, RemoteError, StaleEpoch, current_call
from tests.client.scripted import CALLER, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_instance import start_instance


@asynccontextmanager
async def open_serving(service: object, **options: Any) -> AsyncGenerator[tuple[Client, ScriptedRouter]]:
    """A scripted router to which ``service`` answers."""
    async with open_scripted(**options) as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        yield client, router
        life.leave()
        await router.expect_leaving()


async def ask(router: ScriptedRouter, message: Json) -> Json:
    """The answer to one call."""
    await router.send(message)
    answer = await router.receive()
    assert answer["id"] == message["id"]
    return answer


class Arithmetic:
    def add(self, a: int, b: int) -> int:
        return a + b

    async def add_slowly(self, a: int, b: int) -> int:
        await trio.sleep(1)
        return a + b


@pytest.mark.parametrize("method", ["add", "add_slowly"])
@pytest.mark.parametrize("params", [{"a": 1, "b": 2}, [1, 2]])
@pytest.mark.parametrize("call_id", [7, "seven", 0, -(2**70)])
async def test_methods_answer(
    method: str, params: Any, call_id: int | str, autojump_clock: MockClock
) -> None:
    async with open_serving(Arithmetic()) as (_, router):
        answer = await ask(router, delivered(call_id, method, params))
        assert answer == {"jsonrpc": "2.0", "id": call_id, "result": 3}


async def test_a_wrong_signature_is_named_to_the_caller(autojump_clock: MockClock) -> None:
    async with open_serving(Arithmetic()) as (_, router):
        answer = await ask(router, delivered(1, "add", {"a": 1, "c": 2}))
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"]["errors"] == [
            {"path": "b", "message": "is missing"},
            {"path": "c", "message": "is no parameter of add"},
        ]
        answer = await ask(router, delivered(2, "subtract", [1, 2]))
        assert answer["error"] == {
            "code": -32601,
            "message": "There is no method 'subtract'",
            "data": {"method": "subtract"},
        }


async def test_a_handler_sees_all_that_the_router_says_of_a_call(autojump_clock: MockClock) -> None:
    calls: list[Call] = []

    async def handle(call: Call) -> str:
        calls.append(call)
        assert current_call() is call
        return "seen"

    async with open_serving(handle) as (_, router):
        meta = {
            "resource_id": "r",
            "epoch": 9,
            "service_name": "s",
            "caller": {"session_id": "session-2", "instance_id": "i2", "subject": "alice"},
            "timeout_seconds": 2.5,
            "trace_id": "t",
            "traceparent": "00-a-b-01",
            "idempotency_key": "k",
            "of_a_newer_router": True,
        }
        answer = await ask(router, delivered(1, "any.method", {"a": 1}, **meta))
        assert answer["result"] == "seen"
        bare = {"jsonrpc": "2.0", "id": 2, "method": "m"}
        await ask(router, bare)
    assert calls == [
        Call(
            method="any.method",
            params={"a": 1},
            resource_id="r",
            epoch=9,
            service_name="s",
            caller=Caller(session_id="session-2", instance_id="i2", subject="alice"),
            timeout_seconds=2.5,
            trace_id="t",
            traceparent="00-a-b-01",
            idempotency_key="k",
        ),
        Call(method="m"),
    ]


async def test_outside_a_call_there_is_no_current_call() -> None:
    with pytest.raises(RuntimeError, match="current_call"):
        current_call()


async def test_the_time_of_a_call_bounds_its_handler_which_then_answers_nothing(
    autojump_clock: MockClock,
) -> None:
    seen = []

    async def handle(call: Call) -> None:
        seen.append(trio.current_effective_deadline() - trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            seen.append(trio.current_time())

    async with open_serving(handle) as (client, router):
        await router.send(delivered(1, "m", timeout_seconds=2.5))
        await trio.sleep(10)
        assert seen == [pytest.approx(2.5), pytest.approx(2.5)]
        assert client.statistics().calls_serving == 0
    assert not [frame for frame in router.frames if "result" in frame or "error" in frame]


async def test_a_call_made_while_answering_one_has_the_time_that_is_left(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def handle(call: Call) -> object:
            await trio.sleep(1)
            return await client.call("further", service_name="other")

        life, _ = await start_instance(nursery, client, router, handle)
        await router.send(delivered("c", "m", timeout_seconds=3))
        request = await router.expect("route.call")
        assert request["params"]["timeout_seconds"] == pytest.approx(2)
        await router.answer(request, "further")
        assert (await router.receive())["result"] == "further"
        life.leave()
        await router.expect_leaving()


class Patient:
    """Answers after a second, or tells that it was cancelled."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def wait(self, name: str) -> str:
        self.log.append(f"{name} began")
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            self.log.append(f"{name} cancelled")
            raise
        return name

    async def insist(self, name: str) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        self.log.append(f"{name} insisted")
        return name


async def test_a_cancelled_call_stops_and_is_not_answered_while_others_go_on(
    autojump_clock: MockClock,
) -> None:
    service = Patient()
    async with open_serving(service) as (client, router):
        await router.send(delivered(1, "wait", ["a"]), delivered(2, "wait", ["b"]))
        await wait_all_tasks_blocked()
        await router.send(cancel(1), cancel(77), cancel("2"))
        assert (await router.receive())["id"] == 2
        await router.send(cancel(2))
        await wait_all_tasks_blocked()
        assert service.log == ["a began", "b began", "a cancelled"]
        assert client.statistics().calls_serving == 0


def cancel(call_id: int | str) -> Json:
    return {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": call_id}}


async def test_a_call_that_is_cancelled_before_it_begins_never_runs(autojump_clock: MockClock) -> None:
    service = Patient()
    async with open_serving(service) as (_, router):
        await router.send(delivered(1, "wait", ["a"]), cancel(1), delivered(2, "wait", ["b"]))
        assert (await router.receive())["id"] == 2
        assert service.log == ["b began"]


async def test_a_handler_that_will_not_be_cancelled_is_not_answered_either(autojump_clock: MockClock) -> None:
    service = Patient()
    async with open_serving(service) as (client, router):
        await router.send(delivered(1, "insist", ["a"]))
        await wait_all_tasks_blocked()
        await router.send(cancel(1))
        await trio.sleep(2)
        assert service.log == ["a insisted"]
        assert client.statistics().calls_serving == 0
    assert not [frame for frame in router.frames if "result" in frame]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_call_whose_time_is_over_when_it_arrives_never_runs(
    seconds: float, autojump_clock: MockClock
) -> None:
    service = Patient()
    async with open_serving(service) as (client, router):
        late = delivered(1, "wait", ["a"], timeout_seconds=seconds)
        await router.send(late, delivered(2, "wait", ["b"], timeout_seconds=5))
        assert (await router.receive())["id"] == 2
        assert service.log == ["b began"]
        await wait_all_tasks_blocked()
        assert client.statistics().calls_serving == 0


async def test_calls_begin_in_the_order_in_which_they_arrived(autojump_clock: MockClock) -> None:
    began = []

    async def handle(call: Call) -> None:
        began.append(call.params[0])
        await trio.lowlevel.checkpoint()

    async with open_serving(handle) as (_, router):
        for round in range(10):  # Trio shuffles in half of the cases
            await router.send(*(delivered(100 * round + n, "m", [n]) for n in range(50)))
            for _ in range(50):
                await router.receive()
            assert began == list(range(50))
            began.clear()


async def test_calls_run_side_by_side(autojump_clock: MockClock) -> None:
    async with open_serving(Patient()) as (client, router):
        await router.send(*(delivered(n, "wait", [str(n)]) for n in range(100)))
        await wait_all_tasks_blocked()
        assert client.statistics().calls_serving == 100
        assert {(await router.receive())["id"] for _ in range(100)} == set(range(100))
        assert trio.current_time() == pytest.approx(1)
        answers = [frame for frame in router.frames if "result" in frame]
        assert len(answers) == 1, "answers of the same moment share one message"


# --- what goes wrong ----------------------------------------------------------------------------------------------


class Troubled:
    def refuse(self) -> None:
        raise RemoteError(40401, "no such user", {"user": 7})

    async def refuse_slowly(self) -> None:
        await trio.sleep(1)
        raise RemoteError(1, "plainly no")

    def fail(self) -> None:
        raise KeyError("the password is 1234")

    async def fail_in_a_task(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError("the password is 1234")

    def answer_what_json_cannot_say(self) -> object:
        return {"password": object()}

    def refuse_with_what_json_cannot_say(self) -> None:
        raise RemoteError(1, "no", {"password": object()})

    def lose(self) -> None:
        raise resroute.ResourceNotFound("r")

    def lose_undelivered(self) -> None:
        raise resroute.OwnerDisconnected("i", delivery="not_delivered")

    def lose_the_connection(self) -> None:
        raise resroute.ConnectionLost(delivery="not_delivered")

    def answer_far_too_much(self) -> str:
        return "x" * 5000

    def answer_too_much(self) -> str:
        return "x" * 3000


async def test_a_remote_error_goes_to_the_caller_as_it_is(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_serving(Troubled()) as (_, router):
        answer = await ask(router, delivered(1, "refuse"))
        assert answer["error"] == {"code": 40401, "message": "no such user", "data": {"user": 7}}
        answer = await ask(router, delivered(2, "refuse_slowly"))
        assert answer["error"] == {"code": 1, "message": "plainly no"}
    assert caplog.records == []


STALE = {"code": 409, "message": "stale epoch", "data": {"type": "stale_epoch"}}


async def test_a_handler_can_tell_that_the_epoch_is_out_of_date(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(call: Call) -> None:
        raise StaleEpoch

    async with open_serving(handle) as (_, router):
        answer = await ask(router, delivered(1, "m", resource_id="r", epoch=3))
        assert answer["error"] == STALE
    assert caplog.records == []


async def test_that_further_on_an_epoch_was_out_of_date_is_not_relayed(autojump_clock: MockClock) -> None:
    """The router would run again what has run here."""

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def handle(call: Call) -> object:
            return await client.call("further", service_name="other")

        life, _ = await start_instance(nursery, client, router, handle)
        await router.send(delivered("c", "m", resource_id="r", epoch=3))
        request = await router.expect("route.call")
        await router.send({"jsonrpc": "2.0", "id": request["id"], "error": STALE})
        assert (await router.receive())["error"] == {"code": 409, "message": "stale epoch"}
        life.leave()
        await router.expect_leaving()


@pytest.mark.parametrize(
    "method",
    [
        "fail",
        "fail_in_a_task",
        "answer_what_json_cannot_say",
        "refuse_with_what_json_cannot_say",
        "lose",
        "lose_undelivered",
        "lose_the_connection",
        "answer_far_too_much",
    ],
)
async def test_of_a_bug_the_caller_learns_only_that_there_was_one(
    method: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_serving(Troubled(), limits={"max_message_bytes": 2000}) as (_, router):
        answer = await ask(router, delivered(1, method, trace_id="t1"))
        assert answer["error"] == {"code": -32000, "message": f"Internal error in {method!r}"}
        answer = await ask(router, delivered(2, "refuse_slowly"))
        assert answer["error"]["code"] == 1, "the instance lives"
    [record] = caplog.records
    assert record.getMessage() == f"call_failed method={method} trace_id=t1"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_an_answer_that_only_the_router_finds_too_large_is_left_to_it(
    autojump_clock: MockClock,
) -> None:
    async with open_serving(Troubled(), limits={"max_message_bytes": 2000}) as (_, router):
        answer = await ask(router, delivered(1, "answer_too_much"))
        assert len(answer["result"]) == 3000


async def test_an_error_that_comes_together_with_a_cancellation_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("in the clean-up")

    async with open_serving(handle) as (client, router):
        await router.send(delivered(1, "m", trace_id="t1"))
        await wait_all_tasks_blocked()
        await router.send(cancel(1))
        await wait_all_tasks_blocked()
        assert client.statistics().calls_serving == 0
    [record] = caplog.records
    assert record.getMessage() == "call_failed method=m trace_id=t1"


async def test_params_that_cannot_be_built_are_refused(autojump_clock: MockClock) -> None:
    async with open_serving(Troubled()) as (_, router):
        await router.send_text('{"jsonrpc":"2.0","id":1,"method":"fail","params":[1e999],"meta":{}}')
        assert (await router.receive())["error"]["code"] == -32602


async def test_a_notification_runs_and_is_never_answered(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, bool]] = []

    def handle(call: Call) -> object:
        seen.append((call.method, call.is_notification))
        if call.method == "fail":
            raise KeyError("mine")
        if call.method == "refuse":
            raise RemoteError(1, "no")
        return object()

    async with open_serving(handle) as (client, router):
        null_id = delivered(None, "null", caller=CALLER) | {"id": None}
        await router.send(
            *(
                delivered(None, method, caller=CALLER)
                for method in ("one", "fail", "refuse", "instance.like")
            ),
            null_id,
        )
        await wait_all_tasks_blocked()
        assert client.statistics().calls_serving == 0
        await router.send_text(
            '{"jsonrpc":"2.0","method":"one","params":[1e999],"meta":{"caller":{"session_id":"session-2"}}}'
        )
    assert seen == [(name, True) for name in ("one", "fail", "refuse", "instance.like", "null")]
    assert len(router.frames) == 2, "coming and leaving"
    assert [record.getMessage() for record in caplog.records] == ["call_failed method=fail trace_id=None"]


async def test_what_a_handler_starts_ends_with_its_call(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> object:
        return trio.current_effective_deadline()

    async with open_serving(handle) as (_, router):
        answer = await ask(router, delivered(1, "m", timeout_seconds=1e9))
        assert answer["result"] == 1e9
        answer = await ask(router, {"jsonrpc": "2.0", "id": 2, "method": "m"})
        assert answer["result"] is None, "infinity"
        assert trio.current_effective_deadline() == math.inf


async def test_an_error_for_the_caller_may_come_out_of_the_handlers_own_nurseries(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse() -> None:
        raise RemoteError(7, "sold out", {"left": 0})

    async def fail() -> None:
        raise ValueError("a bug")

    async def handle(call: Call) -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(trio.sleep_forever)
            async with trio.open_nursery() as inner:
                inner.start_soon(refuse)
                if call.method == "both":
                    inner.start_soon(fail)

    async with open_serving(handle) as (_, router):
        answer = await ask(router, delivered(1, "one"))
        assert answer["error"] == {"code": 7, "message": "sold out", "data": {"left": 0}}
        assert not caplog.records
        answer = await ask(router, delivered(2, "both"))
        assert answer["error"] == {"code": -32000, "message": "Internal error in 'both'"}
        assert "a bug" in caplog.text
