"""Over sockets, with the SDK: a router that is killed and comes back finds its clients again, with all they had."""

import signal
import ssl
from functools import partial

import pytest
import trio
import trustme

import resroute
from resroute import (
    Call,
    ConnectionFailed,
    Disconnected,
    Lost,
    ReconnectPolicy,
    Regained,
    open_client,
)
from tests.processes.proxy import open_proxy
from tests.processes.running import Serving, open_router

SOON = ReconnectPolicy(first_seconds=0.2, max_seconds=1.0)
PATIENCE_SECONDS = 40.0
"""Generous: for a busy machine."""
SOON_SECONDS = 5.0
"""A tenth of a second on a quiet one; what waits for something to time out takes longer."""


async def echo(call: Call) -> object:
    return [call.method, call.params]


async def kill(router: Serving) -> None:
    """As by the system when it has no memory left."""
    router.program.send_signal(signal.SIGKILL)
    await router.program.process.wait()


async def test_a_killed_router_that_comes_back_has_all_its_instances_again() -> None:
    metadata: resroute.MetadataFields = {"tags": ["kept"], "attributes": {"n": 7}}
    names = [f"doc:{number}" for number in range(100)]
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            open_router() as first,
            open_client(first.url, reconnect=SOON) as owner,
            open_client(first.url, reconnect=SOON) as client,
            owner.open_instance("documents", echo, instance_id="owner") as instance,
            instance.open_changes() as changes,
        ):
            await instance.register(*names, metadata={"doc:0": metadata})
            before = dict(instance.resources)
            await kill(first)
            async with open_router(port=first.port) as second:
                told = [await anext(changes) for _ in range(101)]
                assert isinstance(told[0], Disconnected)
                for change in told[1:]:
                    assert isinstance(change, Regained)
                    assert change.epoch > change.previous_epoch == before[change.resource_id]
                assert await client.call("read", [1], resource_id="doc:7") == ["read", [1]]
                [info] = (await client.query_resources(resource_ids=["doc:0"])).resources
                assert info.metadata is not None
                assert (info.metadata.tags, info.metadata.attributes) == (("kept",), {"n": 7})
                assert info.owner_instance_id == "owner"
                assert (await second.metrics())["resources"] == 100


async def test_what_was_taken_meanwhile_is_told_with_its_owner() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router() as router, open_proxy(router.port) as proxy:
            async with (
                open_client(proxy.url, reconnect=ReconnectPolicy(first_seconds=4.0)) as owner,
                open_client(router.url) as client,
                owner.open_instance("documents", echo) as instance,
                client.open_instance("documents", echo, instance_id="rival") as rival,
                instance.open_changes() as changes,
            ):
                await instance.register("doc:1", "doc:2")
                await proxy.drop()
                await rival.register("doc:2", wait_seconds=10)
                told = [await anext(changes) for _ in range(3)]
                [lost] = [change for change in told if isinstance(change, Lost)]
                assert (lost.resource_id, lost.new_owner) == ("doc:2", "rival")
                assert instance.resources.keys() == {"doc:1"}


async def test_an_owner_that_comes_back_in_its_grace_misses_no_call() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router() as router, open_proxy(router.port) as proxy:
            async with (
                open_client(proxy.url, reconnect=SOON) as owner,
                open_client(router.url) as client,
                owner.open_instance("documents", echo, resume_grace_seconds=30) as instance,
            ):
                await instance.register("doc:1")
                await proxy.drop()
                answer = await client.call("read", resource_id="doc:1", wait_for_owner_seconds=20)
                assert answer == ["read", None]
                assert owner.statistics().connections == 2


async def test_a_router_that_is_cut_off_is_left() -> None:
    heartbeat = {"heartbeat_interval_seconds": 1, "heartbeat_timeout_seconds": 3}
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router(**heartbeat) as router, open_proxy(router.port) as proxy:
            async with (
                open_client([proxy.url, router.url], reconnect=SOON) as owner,
                owner.open_instance("documents", echo) as instance,
                instance.open_changes() as changes,
            ):
                await instance.register("doc:1")
                proxy.cut()
                assert isinstance(await anext(changes), Disconnected)
                await instance.register("doc:2")
                assert instance.resources.keys() == {"doc:1", "doc:2"}


async def test_a_router_that_restarts_in_order_is_followed_by_its_clients() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            open_router() as first,
            open_client(first.url) as owner,
            open_client(first.url) as caller,
            owner.open_instance("documents", echo) as instance,
        ):
            await instance.register("doc:1")
            again = trio.Event()

            async def keep_calling() -> None:
                while caller.statistics().connections == 1 or owner.statistics().connections == 1:
                    await caller.call("read", resource_id="doc:1", wait_for_owner_seconds=20, idempotent=True)
                    await trio.sleep(0.01)
                again.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_calling)
                await trio.sleep(0.5)
                first.program.send_signal(signal.SIGTERM)
                await first.program.process.wait()
                async with open_router(port=first.port):
                    await again.wait()


async def test_of_several_urls_one_that_works_is_found() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router() as one, open_router() as two:
            nobody = "ws://127.0.0.1:1/"
            async with open_client([nobody, one.url, two.url], reconnect=SOON) as client:
                first = (await client.info()).router_id
                await kill(one)
                assert (await client.info()).router_id != first


async def test_where_nobody_listens_that_is_told_at_once() -> None:
    with trio.fail_after(5), pytest.raises(ConnectionFailed, match="connection refused"):
        async with open_client(["ws://127.0.0.1:1/", "ws://127.0.0.1:2/"]):
            pass


# --- TLS in front of the router -----------------------------------------------------------------------------------


async def _encrypt(port: int, tls: ssl.SSLContext, stream: trio.SocketStream) -> None:
    secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as router, trio.open_nursery() as nursery:

            async def forward(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(forward, secure, router)
            nursery.start_soon(forward, router, secure)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(secure)


async def _listen_with_tls(port: int, tls: ssl.SSLContext, *, task_status: trio.TaskStatus[str]) -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(f"wss://127.0.0.1:{listener.socket.getsockname()[1]}/")
    await trio.serve_listeners(partial(_encrypt, port, tls), [listener])


def certify(host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What the router's side has, and a client that trusts it."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(host).configure_cert(theirs)
    authority.configure_trust(ours)
    return theirs, ours


async def test_over_tls_it_is_all_the_same() -> None:
    theirs, ours = certify("127.0.0.1")
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router() as router, trio.open_nursery() as nursery:
            url = await nursery.start(_listen_with_tls, router.port, theirs)
            async with open_client(url, ssl_context=ours, reconnect=SOON) as client:
                assert (await client.info()).protocol == "resroute.v1.ndjson"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "elsewhere.example"])
async def test_a_certificate_that_is_not_good_is_told_at_once(host: str) -> None:
    """Of nobody whom we trust, or for another name."""
    theirs, ours = certify(host)
    context = ours if host != "127.0.0.1" else ssl.create_default_context()
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_router() as router, trio.open_nursery() as nursery:
            url = await nursery.start(_listen_with_tls, router.port, theirs)
            began_at = trio.current_time()
            with pytest.raises(ConnectionFailed, match="certificate verify failed"):
                async with open_client(url, ssl_context=context):
                    pass
            assert trio.current_time() - began_at < SOON_SECONDS
            nursery.cancel_scope.cancel()
