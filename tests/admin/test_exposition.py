"""What a scrape reads: in slices, and the same as in one go."""

import itertools
from collections.abc import Iterator

import attrs
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from resroute.admin.collecting import RouterCollector
from resroute.admin.exposition import PASSES, Exposition
from resroute.audit.trail import TrailStatistics
from resroute.ids import ServiceName
from resroute.telemetry.metrics import Metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SERVICES = 10_000
INSTANCES = 1000


@attrs.frozen
class Sizes:
    sessions: int = INSTANCES
    suspended_instances: int = 0
    instances: int = INSTANCES
    resources: int = 5
    calls_in_flight: int = 0
    waiters: int = 0
    watches: int = 0
    memory_bytes: int = 0
    max_sessions: int = INSTANCES
    max_memory_bytes: int = 0


class Crowded:
    """A router of many services and instances, and the whole of what a scrape reads of one."""

    state_name = "ready"

    def __init__(self) -> None:
        self.metrics = Metrics()
        for number in range(SERVICES):
            traffic = self.metrics.instance_came(ServiceName(f"s{number}"))
            traffic.observe(0.001 * number)
            traffic.count_error("call_timeout")
            traffic.lookups += 1
            traffic.ownership.count_registrations("ok", 2)
            traffic.ownership.metadata_sizes.observe(10)

    @property
    def gauges(self) -> "Crowded":
        return self

    @property
    def trail(self) -> "Crowded":
        return self

    def statistics(self) -> TrailStatistics:
        return TrailStatistics(recorded=0, dropped=0, queued=0, problem=None)

    def sizes(self) -> Sizes:
        return Sizes()

    def outbox_sizes(self) -> Iterator[int]:
        return itertools.repeat(10, INSTANCES)

    def resource_counts(self) -> Iterator[tuple[str, str, int]]:
        return (("s0", f"i{number}", 5) for number in range(INSTANCES))


class Ticking:
    """A clock by which each look at it takes some time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self._seconds
        return self.now


async def test_many_services_and_instances_are_written_down_in_either_format() -> None:
    exposition = Exposition(Crowded())
    for accept, parse in (("", parse_text), (OPENMETRICS, parse_openmetrics)):
        text, content_type = await exposition.write(accept)
        assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
        families = list(parse(text.decode()))
        assert len({family.name for family in families}) == len(families), "each has one head"
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }
        assert samples["resroute_outbox_bytes",] == 10 * INSTANCES
        assert samples["resroute_calls_total", "ok"] == SERVICES
        assert samples["resroute_call_duration_seconds_count",] == SERVICES
        assert samples["resroute_service_calls_total", "ok", "s7"] == 1
        assert samples["resroute_service_calls_total", "(other)", "ok"] == SERVICES - 200
        assert samples["resroute_service_call_duration_seconds_count", "(other)"] == SERVICES - 200
        assert samples["resroute_resource_lookups_total", "(other)", "true"] == SERVICES - 200
        assert samples["resroute_resource_registrations_total", "(other)", "ok"] == 2 * (SERVICES - 200)
        assert samples["resroute_resource_metadata_size_bytes_count", "s199"] == 1
        owned = [name for name in samples if name[0] == "resroute_resources_per_instance"]
        assert len(owned) == INSTANCES
        assert len(samples) < 12_000


async def test_a_scrape_leaves_the_loop_to_others_after_each_slice() -> None:
    clock = Ticking(0.0002)
    turns = 0

    async def others(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        await nursery.start(others)
        await Exposition(Crowded(), clock).write("")
        nursery.cancel_scope.cancel()
    looks = clock.now / 0.0002
    assert looks > 400, "it looks at the clock often enough to be held to it"
    assert turns >= PASSES * (looks // 4)


async def test_what_is_read_between_two_looks_at_the_clock_is_bounded() -> None:
    families = RouterCollector(Crowded()).collect()
    assert max(len(family.samples) for family in families if family is not None) <= 80
