"""What holds for every method of a client and of its instance: while there is no connection, and when it is over."""

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Call, Client, ConnectionLost, Instance
from tests.client.networks import open_network
from tests.client.typed import Asking

WAITS_FOR_EVER = {"wait_connected", "wait_closed"}
"""What is there to be waited for."""
LEAVES = {"drain", "stop", "serve_until_stopped"}
"""What has nothing to do while there is no connection."""
NO_QUESTIONS = {"all_resources", "statistics", "open_instance", "open_changes"}
"""What asks nothing by itself, or listens to what this program knows."""


async def begin(block: AbstractAsyncContextManager[Any]) -> None:
    """Enter a block, and take what there is."""
    async with block as items:
        if isinstance(items, AsyncIterator):
            await anext(items)


def questions(client: Client) -> dict[str, Asking]:
    return {
        "call": partial(client.call, "m", resource_id="a"),
        "drain_instance": partial(client.drain_instance, "i"),
        "end_session": partial(client.end_session, "s", reason="test"),
        "explain": partial(client.explain, resource_id="a"),
        "info": client.info,
        "open_notifications": lambda: begin(client.open_notifications()),
        "open_stream": lambda: begin(client.open_stream("m", resource_id="a")),
        "open_watch": lambda: begin(client.open_watch()),
        "ping": client.ping,
        "query_instances": client.query_instances,
        "query_resources": client.query_resources,
        "rebalance_service": partial(client.rebalance_service, "s"),
        "release_resources": partial(client.release_resources, "a"),
        "router_statistics": client.router_statistics,
        "top": partial(client.top, "busiest"),
        "transfer_resources": partial(client.transfer_resources, "a", to="i", reason="test"),
        "update_resource": partial(client.update_resource, "a", {}),
    }


def requests(instance: Instance) -> dict[str, Asking]:
    return {
        "bulk_register": partial(instance.bulk_register, ["b"]),
        "bulk_release": partial(instance.bulk_release, ["a"]),
        "notify": partial(instance.notify, "s", "a", "m"),
        "own": lambda: begin(instance.own("b", wait_seconds=1)),
        "register": partial(instance.register, "b"),
        "release": partial(instance.release, "a"),
        "renew": partial(instance.renew, "a"),
        "transfer": partial(instance.transfer, "a", to="i", reason="test"),
        "update": partial(instance.update, "a", {}),
    }


def answer(_call: Call) -> int:
    return 1


def test_no_method_is_left_out() -> None:
    known = NO_QUESTIONS | LEAVES | WAITS_FOR_EVER
    # methods of a class are as good as those of an instance for naming them
    asked = questions(cast("Client", Client)) | requests(cast("Instance", Instance))
    names = {
        name
        for kind in (Client, Instance)
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert names - known == set(asked)


async def test_without_a_connection_each_waits_as_long_as_its_deadline_allows(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", answer) as instance:
            await instance.register("a")
            await network.kill()
            for name, ask in (questions(client) | requests(instance)).items():
                began_at = trio.current_time()
                with pytest.raises(trio.TooSlowError):
                    with trio.fail_after(40):
                        await ask()
                assert trio.current_time() - began_at == pytest.approx(40), name


async def test_without_a_deadline_either_each_gives_up_in_half_a_minute(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", answer) as instance:
            await instance.register("a")
            await network.kill()
            for name, ask in (questions(client) | requests(instance)).items():
                if name == "open_watch":
                    continue  # it is to last over connections
                began_at = trio.current_time()
                with pytest.raises(ConnectionLost, match="connection refused") as caught:
                    await ask()
                assert (caught.value.delivery, name) == ("not_delivered", name)
                assert trio.current_time() - began_at == pytest.approx(30), name


@pytest.mark.parametrize("how", ["left", "closed", "ended"])
async def test_when_it_is_over_each_says_so_at_once(how: str, autojump_clock: MockClock) -> None:
    settings = {"anonymous_roles": ["caller", "instance", "admin"]}
    async with open_network(**settings) as network, network.open_client() as administrator:
        asked: dict[str, Asking] = {}
        kind: type[Exception] = ConnectionLost

        async def ask_all() -> None:
            for name, ask in asked.items():
                began_at = trio.current_time()
                with pytest.raises(kind) as caught:
                    await ask()
                assert trio.current_time() == began_at, name
                if how != "left":  # then it is the router that says so, as long as there is a connection
                    assert isinstance(caught.value, ConnectionLost)
                    assert (caught.value.delivery, name) == ("not_delivered", name)

        async with network.open_client() as client:
            async with client.open_instance("s", answer) as instance:
                await instance.register("a")
                if how == "ended":
                    kind = resroute.SessionEnded
                    asked = questions(client) | requests(instance)
                    session_id = (await client.info()).session_id
                    await administrator.end_session(session_id, reason="enough")
                    await client.wait_closed()
                    await ask_all()
            if how == "left":
                kind, asked = resroute.RouterError, requests(instance)
                del asked["bulk_release"]  # that nobody owns it is as it should be
                await ask_all()
        if how == "closed":
            asked = questions(client) | requests(instance)
            await ask_all()
        assert (await instance.stop()).released == 0, "nothing is left to give up"
