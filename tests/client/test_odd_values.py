"""What JSON cannot hold, as a result, a partial result, an error or a param: told to whoever said it, and to nobody else."""

import decimal
import enum
from collections.abc import AsyncIterator
from typing import Any

import pytest
from trio.testing import MockClock

from resroute import Call, RemoteError
from tests.client.networks import open_network


class Unspeakable:
    """Cannot even be printed."""

    def __repr__(self) -> str:
        raise ValueError("no")


def _in_itself() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    return deep


ODD: dict[str, Any] = {
    "bytes": b"x",
    "in itself": _in_itself(),
    "in itself, with a large number": [_in_itself(), 2**80],
    "too deep": _deep(),
    "too deep, with a large number": [_deep(), 2**80],
    "a number for a name": {1: 2},
    "a number for a name, with a large one": {1: 2**80},
    "no name": {None: 1},
    "half a pair": "\ud800",
    "half a pair for a name": {"\ud800": 1},
    "half a pair, with a large number": ["\ud800", 2**80],
    "a decimal": decimal.Decimal("1.5"),
    "a generator": (number for number in (1, 2)),
    "a function": len,
    "a class": int,
    "an exception": ValueError("no"),
    "unspeakable": Unspeakable(),
    "something odd and a large number": {"a": b"x", "b": 2**80},
}
SETS: dict[str, Any] = {"a set": {1, 2}, "a set and a large number": {"a": {1}, "b": 2**80}}
"""What functions may return all the same."""
odd = pytest.mark.parametrize("value", ODD.values(), ids=ODD)


@odd
async def test_a_result_is_a_bug_of_the_callees(
    value: object, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", lambda call: value if call.method == "odd" else "well"):
            with pytest.raises(RemoteError, match="Internal error in 'odd'"):
                await client.call("odd", service_name="s")
            assert await client.call("plain", service_name="s") == "well"
    assert [record.getMessage().split()[0] for record in caplog.records] == ["call_failed"]


@odd
async def test_a_partial_result_is_a_bug_of_the_callees(
    value: object, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def report(call: Call) -> AsyncIterator[object]:
        yield "well"
        yield value

    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", report):
            async with client.open_stream("odd", service_name="s") as chunks:
                assert await anext(chunks) == "well"
                with pytest.raises(RemoteError, match="Internal error in 'odd'"):
                    await anext(chunks)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["call_failed"]


@pytest.mark.parametrize("value", [*ODD.values(), *SETS.values()], ids=[*ODD, *SETS])
async def test_a_param_is_a_mistake_of_the_callers_and_nothing_is_sent(
    value: object, autojump_clock: MockClock
) -> None:
    called: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", lambda call: called.append(call.method)) as instance:
            await instance.register("r")
            with pytest.raises(TypeError):
                await client.call("odd", [value], service_name="s")
            with pytest.raises(TypeError):
                async with client.open_stream("odd", {"a": value}, service_name="s"):
                    pass
            with pytest.raises(TypeError):
                await instance.update("r", {"attributes": {"a": value}})
            with pytest.raises(TypeError):
                await instance.notify("session-1", "r", "odd", [value])
            await client.call("plain", service_name="s")
            assert client.statistics().calls_in_flight == 0
    assert called == ["plain"]


@pytest.mark.parametrize(
    "error",
    [
        RemoteError("NOT_FOUND", "no such user"),  # type: ignore[arg-type]
        RemoteError(True, "no such user"),
        RemoteError(1.5, "no such user"),  # type: ignore[arg-type]
        RemoteError(None, "no such user"),  # type: ignore[arg-type]
        RemoteError(1, None),  # type: ignore[arg-type]
        RemoteError(1, "half a pair: \ud800"),
        RemoteError(1, "no", {"password": {1}}),
    ],
    ids=lambda error: f"{error.code!r} {error.message!r} {error.data!r}",
)
async def test_an_error_that_is_none_is_a_bug_of_the_callees(
    error: RemoteError, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: Call) -> None:
        raise error

    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", fail):
            with pytest.raises(RemoteError, match="Internal error in 'odd'") as caught:
                await client.call("odd", service_name="s")
    assert caught.value.data is None
    assert [record.getMessage().split()[0] for record in caplog.records] == ["call_failed"]


class Code(enum.IntEnum):
    NO_SUCH_USER = 40401


async def test_a_number_with_a_name_is_one(autojump_clock: MockClock) -> None:
    def fail(call: Call) -> None:
        raise RemoteError(Code.NO_SUCH_USER, "no such user")

    async with open_network() as network, network.open_client() as client, client.open_instance("s", fail):
        with pytest.raises(RemoteError) as caught:
            await client.call("m", service_name="s")
    assert caught.value.code == Code.NO_SUCH_USER


async def test_what_is_merely_unusual_arrives(autojump_clock: MockClock) -> None:
    usual = {"large": 2**80, "negative": -(2**70), "line\nbreak": "\u2028", "": [None, True, 1e300]}
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", lambda call: call.params):
            assert await client.call("echo", usual, service_name="s") == usual
            assert await client.call("echo", (1, float("nan")), service_name="s") == [1, None]


async def test_an_instance_that_may_not_ask_resumes_more_than_an_answer_names(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no role ``caller``, and learns of the rest by and by."""
    names = [f"doc:{number:04}" for number in range(1500)]
    settings: dict[str, Any] = {"anonymous_roles": ["instance"], "max_resources_per_instance": 2000}
    async with open_network(**settings) as network:
        async with network.open_client() as client, network.open_client() as again:
            async with client.open_instance("documents", lambda call: None, instance_id="one") as before:
                await before.bulk_register(names)
                token = before.resume_token
                async with again.open_instance(
                    "documents", lambda call: None, instance_id="one", resume_token=token
                ) as instance:
                    assert list(instance.resumed) == names[:1000]
                    assert (await instance.register(names[-1])).epochs == {
                        names[-1]: instance.resumed[names[0]]
                    }
    assert "resumed_not_all_known count=1500 known=1000" in caplog.text
