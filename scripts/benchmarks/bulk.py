"""Registering and releasing in bulk: the router's CPU for a hundred, ten thousand at once, and what holds the loop."""

import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import processes
from benchmarks.accounting import cpu_seconds
from benchmarks.holds import Event, holds_of
from benchmarks.processes import Target
from benchmarks.report import Row, median
from benchmarks.running import Run
from benchmarks.wire import Client

TITLE = "Register and release in bulk, in one step, over the wire"

SETTINGS = {"max_resources_per_instance": 50_000}
ADMIN = SETTINGS | {"anonymous_roles": "caller,instance,admin"}
FEW = 100
FEW_CPU_SECONDS = 0.002
MANY = 10_000
MANY_SECONDS = 0.150
HOLD_SECONDS = 0.005


def measure(run: Run) -> Iterator[Row]:
    """All rows about bulks."""
    with processes.router(settings=SETTINGS) as router:
        yield _few(run, router)
        yield from _many(run, router)
    with processes.router("watched", watched=True, settings=SETTINGS) as router:
        yield from _holds(run, router)
    with processes.router("watched-admin", watched=True, settings=ADMIN) as router:
        yield _forced(run, router)


def _few(run: Run, router: Target) -> Row:
    """A hundred, often: the router's CPU for a registration, and the release that follows."""
    repeated = 50 if run.quick else 200
    asked = {"resources": [{"resource_id": f"bench:few:{item}"} for item in range(FEW)]}
    ids = {"resource_ids": [item["resource_id"] for item in asked["resources"]]}
    cpu: dict[str, list[float]] = {"bulk_register": [], "bulk_release": []}
    with _instance(router, "few") as client:
        for number in range(run.rounds + 1):
            run.progress(f"bulk of {FEW}: round {number} of {run.rounds}")
            seconds = dict.fromkeys(cpu, 0.0)
            for _ in range(repeated):
                for name, params in (("bulk_register", asked), ("bulk_release", ids)):
                    began = cpu_seconds(router.pid)
                    client.request(f"resource.{name}", params)
                    seconds[name] += cpu_seconds(router.pid) - began
            if number:  # the first one warms up
                for name, taken in seconds.items():
                    cpu[name].append(taken / repeated)
    registered = median(cpu["bulk_register"])
    return Row(
        operation=f"register {FEW}",
        ours=registered * 1e3,
        unit="ms",
        target=f"< {FEW_CPU_SECONDS * 1e3:.0f} ms of CPU",
        met=registered < FEW_CPU_SECONDS,
        cpu_us=registered * 1e6,
        note=f"release {median(cpu['bulk_release']) * 1e3:.2f} ms of CPU",
        raw={"cpu_seconds": cpu},
    )


def _many(run: Run, router: Target) -> Iterator[Row]:
    """Ten thousand at once, with nothing said of them and with metadata."""
    for what, metadata in (
        ("", None),
        (" with metadata", {"resource_type": "document", "tags": ["draft", "new"]}),
    ):
        events = _registrations(run, router, f"many{len(what)}", metadata)
        seconds = [event["ended"] - event["began"] for event in events]
        cpu = [event["cpu_seconds"] for event in events]
        yield Row(
            operation=f"register {MANY}{what}",
            ours=median(seconds) * 1e3,
            unit="ms",
            target=f"< {MANY_SECONDS * 1e3:.0f} ms",
            met=median(seconds) < MANY_SECONDS,
            cpu_us=median(cpu) * 1e6,
            note=f"{median(cpu) * 1e3:.0f} ms of CPU; release "
            f"{median([event['release_seconds'] for event in events]) * 1e3:.0f} ms",
            raw={"seconds": seconds, "cpu_seconds": cpu},
        )


def _holds(run: Run, router: Target) -> Iterator[Row]:
    """The same in a router that watches what holds its loop."""
    plain = _registrations(run, router, "held", None)
    described = _registrations(run, router, "held-too", {"tags": ["draft", "new"]})
    seen = holds_of(router)
    yield seen.row(f"longest hold, {MANY}", HOLD_SECONDS, [[event] for event in plain])
    yield seen.row(f"longest hold, {MANY} with metadata", HOLD_SECONDS, [[event] for event in described])


def _forced(run: Run, router: Target) -> Row:
    """Ten thousand are taken from one who owns them, by turns."""
    events: list[Event] = []
    with _instance(router, "one") as one, _instance(router, "other") as other:
        resources = [{"resource_id": f"bench:forced:{item}", "force": True} for item in range(MANY)]
        one.request("resource.bulk_register", {"resources": resources})
        for number in range(run.rounds + 1):
            run.progress(f"{MANY} taken by force: round {number} of {run.rounds}")
            heir = one if number % 2 else other
            time.sleep(0.2)
            began = time.perf_counter()
            assert heir.request("resource.bulk_register", {"resources": resources})["complete"]
            if number:
                events.append({"began": began, "ended": time.perf_counter()})
    run.progress_done()
    return holds_of(router).row(f"longest hold, {MANY} taken by force", HOLD_SECONDS, [[it] for it in events])


def _registrations(
    run: Run, router: Target, name: str, metadata: Mapping[str, object] | None
) -> Sequence[Event]:
    """Register ten thousand, and release them, time and again."""
    said = {} if metadata is None else {"metadata": metadata}
    resources = [{"resource_id": f"bench:{name}:{item}", **said} for item in range(MANY)]
    ids = [item["resource_id"] for item in resources]
    events: list[Event] = []
    with _instance(router, name) as client:
        for number in range(run.rounds + 1):
            run.progress(f"bulk of {MANY}: round {number} of {run.rounds}")
            cpu, began = cpu_seconds(router.pid), time.perf_counter()
            result = client.request("resource.bulk_register", {"resources": resources})
            assert result["complete"]
            registered, cpu = time.perf_counter(), cpu_seconds(router.pid) - cpu
            client.request("resource.bulk_release", {"resource_ids": ids})
            event = {"began": began, "ended": registered, "cpu_seconds": cpu}
            event["release_seconds"] = time.perf_counter() - registered
            if number:
                events.append(event)
    run.progress_done()
    return events


def _instance(router: Target, name: str) -> Client:
    client = Client(router.port)
    client.request("instance.register", {"service_name": "bench", "instance_id": f"bench-bulk-{name}"})
    return client
