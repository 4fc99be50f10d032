"""The admin pages, over a live port."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import attrs
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from resroute.admin import serve_admin
from resroute.audit.records import Entry, Source
from resroute.audit.trail import TrailStatistics
from resroute.core.filters import Filter
from resroute.ids import InstanceId, Revision, ServiceName
from resroute.protocol.binding import Binding
from resroute.router.id_search import FoundIds, Rank
from resroute.router.identity import Identity
from resroute.router.latest import Change
from resroute.settings import Settings
from resroute.telemetry.metrics import LATENCY_BUCKETS, Metrics
from resroute.transport.interface import Transport


@attrs.frozen
class Sizes:
    sessions: int = 4
    instances: int = 2
    suspended_instances: int = 0
    resources: int = 1000
    calls_in_flight: int = 7
    waiters: int = 3
    watches: int = 5
    memory_bytes: int = 70_000
    max_sessions: int = 100
    max_memory_bytes: int = 1_000_000


@attrs.define
class Gauges:
    """What is there, according to a list of numbers."""

    now: Sizes = Sizes()
    outboxes: list[int] = attrs.Factory(lambda: [65_536, 0])
    owners: list[tuple[str, str, int]] = attrs.Factory(lambda: [("rooms", "rooms-1", 1000)])

    def sizes(self) -> Sizes:
        return self.now

    def outbox_sizes(self) -> Iterator[int]:
        return iter(self.outboxes)

    def resource_counts(self) -> Iterator[tuple[str, str, int]]:
        return iter(self.owners)


@attrs.define
class Pretender:
    """A router of nothing but numbers."""

    state_name: str = "ready"
    gauges: Gauges = attrs.Factory(Gauges)
    metrics: Metrics = attrs.Factory(Metrics)
    trail: "Trail" = attrs.Factory(lambda: Trail())

    settings: Settings = attrs.Factory(Settings)
    calls: "Calls" = attrs.Factory(lambda: Calls())
    revision: Revision = attrs.Factory(lambda: Revision(1))
    search: "Search" = attrs.Factory(lambda: Search())
    changes: "Changes" = attrs.Factory(lambda: Changes())

    async def serve_transport(
        self, transport: Transport, binding: Binding | None = None, *, identity: Identity | None = None
    ) -> None:
        await transport.aclose(1001, "it only pretends")


class Calls:
    """What nobody has to do."""

    async def of(self, instance_id: InstanceId, *, limit: int, offset: int = 0) -> None:
        return None


class Search:
    """Of what nobody looks for."""

    async def find(self, wanted: Filter, fragment: str, *, limit: int, after: Rank | None = None) -> FoundIds:
        raise AssertionError("nobody does")


class Changes:
    """Of what stays as it is."""

    def of(self, wanted: Filter, limit: int) -> Sequence[Change]:
        raise AssertionError("nobody looks")


@attrs.define
class Trail:
    """An audit log of nothing but numbers."""

    now: TrailStatistics = attrs.Factory(
        lambda: TrailStatistics(recorded=9, dropped=0, queued=0, problem=None)
    )

    def statistics(self) -> TrailStatistics:
        return self.now

    def add(self, item: Entry) -> None:
        raise AssertionError("nobody writes it")

    async def read[T](self, look: Callable[[Source], T]) -> T:
        raise AssertionError("nobody reads it")


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


@attrs.frozen
class Pages:
    """A running admin server and the router it tells about."""

    router: Pretender
    port: int

    async def open_stream(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str | None = "localhost",
        headers: str = "",
        body: bytes = b"",
    ) -> Answer:
        """One request on a connection of its own, that the server closes."""
        host_header = "" if host is None else f"Host: {host}\r\n"
        version = "1.0" if host is None else "1.1"
        head = (
            f"{method} {path} HTTP/{version}\r\n{host_header}Connection: close\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        )
        async with await self.open_stream() as stream:
            await stream.send_all(head.encode() + body)
            received = b"".join([chunk async for chunk in stream])
        head, _, text = received.decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        return Answer(
            int(status.split()[1]),
            {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)},
            text,
        )


@pytest.fixture
async def pages(nursery: trio.Nursery) -> AsyncIterator[Pages]:
    router = Pretender()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(10):
        await nursery.start(serve_admin, router, listeners)
        yield Pages(router, port)


# --- health -----------------------------------------------------------------------------------------------


async def test_a_router_that_runs_is_healthy(pages: Pages) -> None:
    for state in ("starting", "ready", "draining"):
        pages.router.state_name = state
        answer = await pages.ask("/healthz")
        assert (answer.status, answer.body) == (200, "ok\n")


async def test_a_router_that_takes_sessions_is_ready(pages: Pages) -> None:
    answer = await pages.ask("/readyz")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {"status": "ready"}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("starting", "The router does not listen yet"),
        ("draining", "The router is shutting down and takes nothing new"),
        ("faulty", "The router is faulty"),
    ],
)
async def test_a_router_that_takes_no_sessions_says_why(pages: Pages, state: str, reason: str) -> None:
    pages.router.state_name = state
    answer = await pages.ask("/readyz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"status": state, "reason": reason}


async def test_an_audit_log_that_cannot_be_written_is_told_and_the_router_is_ready_all_the_same(
    pages: Pages,
) -> None:
    pages.router.trail.now = TrailStatistics(recorded=9, dropped=4, queued=3, problem="disk full")
    answer = await pages.ask("/readyz")
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {"status": "ready", "audit": "failing: disk full"},
    )
    scraped = await scrape(pages)
    for name, value in (("records_total", 9), ("dropped_total", 4), ("queued", 3), ("failing", 1)):
        assert scraped["resroute_audit_" + name, ()] == value


# --- metrics ----------------------------------------------------------------------------------------------


async def scrape(pages: Pages) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await pages.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }


async def test_metrics_show_the_size_of_each_table(pages: Pages) -> None:
    samples = await scrape(pages)
    sizes = attrs.asdict(pages.router.gauges.now)
    assert {name: samples[f"resroute_{name}", ()] for name in sizes} == sizes
    assert samples["resroute_outbox_bytes", ()] == 65_536
    owner = ("instance_id", "rooms-1"), ("service_name", "rooms")
    assert samples["resroute_resources_per_instance", owner] == 1000


async def test_metrics_count_calls_by_outcome_and_operations_by_status(pages: Pages) -> None:
    metrics = pages.router.metrics
    for outcome in ("ok", "ok", "call_timeout"):
        metrics.count_call(outcome)
    metrics.count_operation("resource.register", "ok", 0.001)
    metrics.count_operation("resource.register", "resource_conflict", 0.001)
    metrics.dropped_answers += 1

    samples = await scrape(pages)
    assert samples["resroute_calls_total", (("outcome", "ok"),)] == 2
    assert samples["resroute_calls_total", (("outcome", "call_timeout"),)] == 1
    register = ("operation", "resource.register")
    assert samples["resroute_operations_total", (register, ("status", "ok"))] == 1
    assert samples["resroute_operations_total", (register, ("status", "resource_conflict"))] == 1
    assert samples["resroute_dropped_answers_total", ()] == 1


async def test_metrics_tell_how_long_calls_took(pages: Pages) -> None:
    traffic = pages.router.metrics.instance_came(ServiceName("service"))
    for seconds in (0.00005, 0.0003, 0.0003, 5000.0):
        traffic.observe(seconds)
    samples = await scrape(pages)
    name = "resroute_call_duration_seconds"
    buckets = {
        labels[0][1]: count for (sample, labels), count in samples.items() if sample == f"{name}_bucket"
    }
    assert len(buckets) == LATENCY_BUCKETS + 1
    assert [buckets[bound] for bound in ("0.0001", "0.0002", "0.0004", "838.8608", "+Inf")] == [1, 1, 3, 3, 4]
    assert samples[f"{name}_count", ()] == 4
    assert samples[f"{name}_sum", ()] == pytest.approx(5000.00065)


async def test_metrics_tell_how_large_metadata_is_by_service(pages: Pages) -> None:
    rooms_sizes, users_sizes = (
        pages.router.metrics.instance_came(ServiceName(name)).ownership.metadata_sizes
        for name in ("rooms", "users")
    )
    for size_bytes in (2, 64, 65, 100_000):
        rooms_sizes.observe(size_bytes)
    users_sizes.observe(5000)
    samples = await scrape(pages)
    name = "resroute_resource_metadata_size_bytes"
    rooms = ("service_name", "rooms")
    assert [
        samples[f"{name}_bucket", (("le", bound), rooms)] for bound in ("64.0", "256.0", "65536.0", "+Inf")
    ] == [2, 3, 3, 4]
    assert samples[f"{name}_sum", (rooms,)] == 100_131
    assert samples[f"{name}_count", (("service_name", "users"),)] == 1


async def test_metrics_tell_about_the_process(pages: Pages) -> None:
    samples = await scrape(pages)
    assert samples["process_cpu_seconds_total", ()] > 0
    assert samples["process_open_fds", ()] > 0


async def test_two_routers_in_one_process_keep_their_numbers_apart(
    pages: Pages, nursery: trio.Nursery
) -> None:
    other = Pretender(gauges=Gauges(Sizes(sessions=99)))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await nursery.start(serve_admin, other, listeners)
    assert (await scrape(pages))["resroute_sessions", ()] == 4
    assert (await scrape(Pages(other, port)))["resroute_sessions", ()] == 99


async def test_a_scraper_that_prefers_openmetrics_gets_it(pages: Pages) -> None:
    answer = await pages.ask("/metrics", headers="Accept: application/openmetrics-text; version=1.0.0\r\n")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith("# EOF\n")


# --- what is not there ----------------------------------------------------------------------


async def test_the_pages_are_for_reading_only(pages: Pages) -> None:
    answer = await pages.ask("/healthz", method="POST", body=b"x" * 1000)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_head_answers_without_the_page(pages: Pages) -> None:
    answer = await pages.ask("/healthz", method="HEAD")
    assert (answer.status, answer.body) == (200, "")


async def test_a_bug_is_told_without_its_traceback(
    pages: Pages, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pages.router.metrics.dropped_answers = "many"  # type: ignore[assignment]  # the bug
    answer = await pages.ask("/metrics")
    problem = json.loads(answer.body)
    assert (answer.status, problem["type"], problem["code"]) == (500, "internal_error", -32603)
    assert problem["detail"] == "The router failed; its log tells why under this trace id"
    assert problem["trace_id"] in capsys.readouterr().out
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nope"])
async def test_every_answer_has_strict_headers(pages: Pages, path: str) -> None:
    headers = (await pages.ask(path)).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


# --- who may ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8766", "[::1]:8766", "[::1]"])
async def test_on_loopback_this_machine_may_ask_by_any_of_its_names(pages: Pages, host: str) -> None:
    assert (await pages.ask("/healthz", host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8766", "localhost.evil.example", "::1", "[::1", "a:b"]
)
async def test_on_loopback_a_foreign_host_is_refused(pages: Pages, host: str) -> None:
    answer = await pages.ask("/metrics", host=host)
    assert answer.status == 403
    assert "resroute_" not in answer.body


async def test_a_request_without_host_comes_from_no_browser(pages: Pages) -> None:
    assert (await pages.ask("/healthz", host=None)).status == 200


async def test_elsewhere_any_host_will_do(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="0.0.0.0")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(10):
        await nursery.start(serve_admin, Pretender(), listeners)
        assert (await Pages(Pretender(), port).ask("/healthz", host="router.example:1")).status == 200


# --- coming and going -------------------------------------------------------------------------------------


async def test_it_ends_at_once_whatever_its_connections_are_doing() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    pages = Pages(Pretender(), listeners[0].socket.getsockname()[1])
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_admin, pages.router, listeners)
            idle, halfway = await pages.open_stream(), await pages.open_stream()
            await idle.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await idle.receive_some()).startswith(b"HTTP/1.1 200")
            await halfway.send_all(b"GET /healthz HT")
            await trio.testing.wait_all_tasks_blocked(0.01)
            told = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - told < 1
        with pytest.raises(OSError, match="failed"):
            await pages.open_stream()
        await idle.aclose()
        await halfway.aclose()


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_end() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    pages = Pages(Pretender(), listeners[0].socket.getsockname()[1])
    requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    with trio.fail_after(10):
        async with await pages.open_stream() as stream:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_admin, pages.router, listeners)
                with trio.move_on_after(1):  # until the server is stuck in a send, and so are we
                    while True:
                        await stream.send_all(requests)
                told = trio.current_time()
                nursery.cancel_scope.cancel()
            assert trio.current_time() - told < 1


# What a WebSocket handshake with data behind it, and HTTP/2 with settings that cannot be, do to Hypercorn's own server.
NONSENSE = {
    "websocket": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x05hello",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    "upgrade": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: !\r\n\r\n",
    "bytes": b"GET /\xff HTTP/1.1\r\n\r\n",
    "tls": b"\x16\x03\x01" + b"\0" * 64,
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_costs_nobody_but_its_own_connection(pages: Pages, nonsense: bytes) -> None:
    async with await pages.open_stream() as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(nonsense)
            with trio.move_on_after(0.2):
                while await stream.receive_some():
                    pass
    assert (await pages.ask("/healthz")).status == 200


async def test_the_port_is_free_again_afterwards() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_admin, Pretender(), listeners)
            nursery.cancel_scope.cancel()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


async def test_a_connection_serves_request_after_request(pages: Pages) -> None:
    async with await pages.open_stream() as stream:
        for _ in range(3):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while not received.endswith(b"\r\n\r\nok\n"):
                received += await stream.receive_some()
