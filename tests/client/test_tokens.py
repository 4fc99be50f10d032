"""Tokens that a client gets when it needs them."""

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

import resroute
from resroute.testing import SOON
from tests.client.networks import ScriptedNetwork, open_scripted_network
from tests.client.scripted import ScriptedRouter


class Issuer:
    """Gives one token after the other."""

    def __init__(self) -> None:
        self.given = 0
        self.fails = False

    async def give(self) -> str:
        await trio.sleep(1)
        if self.fails:
            raise OSError("the issuer is away")
        self.given += 1
        return f"token-{self.given}"


def token_of(router: ScriptedRouter) -> str:
    assert router.request is not None
    return router.request.headers["Authorization"].removeprefix("Bearer ")


async def test_each_connection_has_a_fresh_one(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network:
        async with resroute.open_client_over(
            network.open_transport, token=Issuer().give, reconnect=SOON
        ) as client:
            router = await network.next_router()
            assert token_of(router) == "token-1"
            await router.cut()
            await wait_all_tasks_blocked()
            await client.wait_connected()
            assert token_of(await network.next_router()) == "token-2"


async def test_a_function_need_not_be_async(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network:
        async with resroute.open_client_over(network.open_transport, token=lambda: "at-once"):
            assert token_of(await network.next_router()) == "at-once"


async def test_one_that_ends_soon_is_renewed_within_the_session(autojump_clock: MockClock) -> None:
    expiring = {
        "jsonrpc": "2.0",
        "method": "session.expiring",
        "params": {"expires_at": "2026-01-01T00:00:00Z"},
    }
    issuer = Issuer()
    async with open_scripted_network() as network:
        async with resroute.open_client_over(
            network.open_transport, token=issuer.give, reconnect=SOON
        ) as client:
            router = await network.next_router()
            for number in (2, 3):
                await router.send(expiring)
                request = await router.expect("session.authenticate")
                assert request["params"] == {"token": f"token-{number}"}
                await router.answer(request, {"subject": "s", "roles": []})
                await wait_all_tasks_blocked()
            issuer.fails = True
            await router.send(expiring)
            await trio.sleep(10)
            issuer.fails = False
            await router.send(expiring)
            await router.refuse(await router.expect("session.authenticate"), 401, "unauthenticated")
            await wait_all_tasks_blocked()
            assert client.state == "connected", "as long as the router lets it be"


async def test_one_that_has_expired_is_followed_by_a_fresh_one(autojump_clock: MockClock) -> None:
    async def run_out(network: ScriptedNetwork, times: int) -> None:
        for _ in range(times):
            router = await network.next_router()
            await trio.sleep(60)
            await router.close(4001, "the token has expired")

    issuer = Issuer()
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        nursery.start_soon(run_out, network, 3)
        async with resroute.open_client_over(
            network.open_transport, token=issuer.give, reconnect=SOON
        ) as client:
            await trio.sleep(200)
            assert client.state == "connected"
            assert issuer.given == 4
            network.options = {"refuse": (401, "Who are you?\n")}
            await (await network.next_router()).cut()
            lost = await client.wait_closed()
            assert isinstance(lost, resroute.TokenRejected)
            assert issuer.given == 6, "it was refused twice"


async def test_an_issuer_that_is_away_is_asked_again(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    async with open_scripted_network() as network:
        async with resroute.open_client_over(
            network.open_transport, token=issuer.give, reconnect=SOON
        ) as client:
            issuer.fails = True
            await (await network.next_router()).cut()
            await trio.sleep(100)
            assert client.state == "connecting"
            issuer.fails = False
            await client.wait_connected()


@pytest.mark.parametrize("odd", ["", "two words"])
async def test_a_first_token_that_cannot_be_had_is_told(odd: str, autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network:
        issuer = Issuer()
        issuer.fails = True
        with pytest.raises(resroute.ConnectionFailed, match="the issuer is away"):
            async with resroute.open_client_over(network.open_transport, token=issuer.give):
                pass
        with pytest.raises(resroute.ConnectionFailed, match="visible ASCII"):
            async with resroute.open_client_over(network.open_transport, token=lambda: odd):
                pass
        with pytest.raises(resroute.ConnectionFailed, match="within 10 seconds"):

            async def hang() -> str:
                await trio.sleep_forever()
                raise AssertionError

            async with resroute.open_client_over(network.open_transport, token=hang):
                pass
        with pytest.raises(resroute.ConnectionFailed, match="there is no token: TooSlowError"):

            async def be_impatient() -> str:
                with trio.fail_after(1):
                    await trio.sleep_forever()
                raise AssertionError

            async with resroute.open_client_over(network.open_transport, token=be_impatient):
                pass


async def test_a_stream_is_closed_if_there_is_no_token_for_it(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    issuer = Issuer()
    issuer.fails = True
    with pytest.raises(resroute.ConnectionFailed, match="the issuer is away"):
        async with resroute.open_client_over(ours, token=issuer.give):
            pass
    assert await theirs.receive_some() == b""
