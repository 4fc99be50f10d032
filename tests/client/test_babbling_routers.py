"""Whatever a router says: what is asked of it ends in time, with a result or a typed error, and nothing is left."""

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Call, Client, Instance, Releasing, Service, open_client_over
from resroute.errors import ROUTER_ERRORS, RouterError, UnknownRouterError, router_error_from_wire
from tests.client.babbling import BabblingConnection
from tests.client.typed import Asking, ask, go_through

PATIENCE_SECONDS = 20.0


def questions(client: Client) -> list[Asking]:
    return [
        client.info,
        client.ping,
        client.query_instances,
        client.query_resources,
        client.router_statistics,
        partial(client.call, "m", resource_id="r", idempotent=True),
        partial(client.drain_instance, "i1"),
        partial(client.end_session, "session-2", reason="test"),
        partial(client.explain, resource_id="r"),
        partial(client.rebalance_service, "s"),
        partial(client.release_resources, "r"),
        partial(client.top, "busiest"),
        partial(client.transfer_resources, "r", to="i1", reason="test"),
        partial(client.update_resource, "r", {}),
        lambda: go_through(client.open_notifications()),
        lambda: go_through(client.open_stream("m", service_name="s")),
        lambda: go_through(client.open_watch()),
        lambda: go_through(client.open_watch(snapshot=True)),
    ]


def actions(instance: Instance, random: Random) -> list[Asking]:
    async def own() -> None:
        wait_seconds = random.choice((None, 1.0))
        async with instance.own("doc:1", metadata={"ttl_seconds": 3}, wait_seconds=wait_seconds):
            await trio.sleep(3)

    return [
        instance.drain,
        own,
        partial(instance.bulk_register, [f"doc:{number}" for number in range(5)], batch_size=2),
        partial(instance.bulk_register, ["doc:1", "doc:2"], batch_size=1, continue_on_error=True),
        partial(instance.bulk_release, ["doc:1"]),
        partial(instance.notify, "session-2", "doc:1", "m"),
        partial(instance.register, "doc:1", "doc:2"),
        partial(instance.register, "doc:1", wait_seconds=2),
        partial(instance.release, "doc:1"),
        partial(instance.renew, "doc:1"),
        partial(instance.transfer, "doc:1", to="i2", reason="test"),
        partial(instance.update, "doc:1", {}),
        lambda: go_through(instance.open_changes()),
    ]


async def work(call: Call) -> int:
    if call.wants_progress:
        await call.progress([1])
    return 1


def serving(random: Random) -> Service:
    """A service that has hooks, or some of them."""
    service = Service(work)
    if random.random() < 0.5:

        @service.before_release
        async def save(_releasing: Releasing) -> int:
            await trio.sleep(random.choice((0, 1)))
            return 1

    if random.random() < 0.5:

        @service.after_acquire
        async def load(_acquired: Acquired) -> None:
            await trio.sleep(random.choice((0, 1)))

    return service


async def live(random: Random) -> None:
    async def dial() -> BabblingConnection:
        await trio.lowlevel.checkpoint()
        return BabblingConnection(random)

    async with open_client_over(dial) as client:

        async def be_an_instance() -> None:
            async with client.open_instance("s", serving(random)) as instance:
                for _ in range(6):
                    async with trio.open_nursery() as nursery:
                        for asking in random.sample(actions(instance, random) + questions(client), 4):
                            nursery.start_soon(ask, asking, PATIENCE_SECONDS)

        await ask(be_an_instance, PATIENCE_SECONDS)
        for asking in random.sample(questions(client), 5):
            await ask(asking, PATIENCE_SECONDS)


async def test_whatever_a_router_says_nothing_but_typed_errors_comes_of_it(autojump_clock: MockClock) -> None:
    for seed in range(400):
        living = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.fail_after(10_000):
                await live(Random(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert trio.lowlevel.current_statistics().tasks_living == living, seed


# --- errors that are not what they should be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("unavailable", {"reason": "overloaded", "retry_after_seconds": "soon"}),
        ("unavailable", {"reason": ["overloaded"]}),
        ("unavailable", {}),
        ("too_many_calls", {"limit": {}}),
        ("resource_conflict", {"conflicts": ["doc:1"]}),
        ("invalid_params", {"errors": ["all"]}),
        ("call_timeout", {"timeout_seconds": None}),
        ("resource_not_found", {"resource_id": 7, "trace_id": 7}),
    ],
)
def test_an_error_that_is_not_what_it_should_be_keeps_all_that_was_sent(
    kind: str, data: Mapping[str, Any]
) -> None:
    sent = {"type": kind, **data}
    error = router_error_from_wire(ROUTER_ERRORS[kind].code, "what the router says", sent)
    assert isinstance(error, UnknownRouterError)
    assert (error.type, str(error), error.data()) == (kind, "what the router says", sent)
    assert error.trace_id is None


def test_words_of_a_newer_router_are_kept() -> None:
    data = {
        "type": "unavailable",
        "reason": "dreaming",
        "delivery": "perhaps",
        "moon": "full",
        "trace_id": "t",
    }
    error = router_error_from_wire(503, "", data)
    assert isinstance(error, resroute.Unavailable)
    assert (error.reason, error.delivery, error.trace_id) == ("dreaming", "perhaps", "t")
    assert str(error) == "dreaming"


def test_a_conflict_about_nothing_can_be_told() -> None:
    error = router_error_from_wire(409, "", {"type": "resource_conflict", "conflicts": {}})
    assert isinstance(error, RouterError)
    assert str(error) == "Another instance owns one of the resources"
