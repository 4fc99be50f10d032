"""A million resources over a thousand instances: what each costs, and what none may be held up by."""

from collections.abc import Iterator

from benchmarks import processes
from benchmarks.core_figures import LARGE, SMALL
from benchmarks.delays import delays
from benchmarks.lookup import difference_row
from benchmarks.processes import core_figures
from benchmarks.report import Row, in_words, median
from benchmarks.running import Run

TITLE = "A million resources over a thousand instances"

GROWTH = 1.3
BYTES_EACH = 450
HOLD_SECONDS = 0.005
DELAY_SECONDS = 0.010


def measure(run: Run) -> Iterator[Row]:
    """All rows about many resources: the core alone, then over the wire."""
    run.progress("the core: costs")
    figures = core_figures("costs", run.rounds)
    for operation in ("register", "release"):
        small, large = figures[f"{operation} {SMALL}"], figures[f"{operation} {LARGE}"]
        growth = median(a / b for a, b in zip(large, small, strict=True))
        yield Row(
            operation=f"{operation} in the core, a million registered",
            ours=median(large) / 1000,
            target=f"≤ {GROWTH} × that of 1 000",
            met=growth <= GROWTH,
            reference=f"1 000: {in_words(median(small) / 1e9)}",
            ratio=growth,
            cpu_us=median(large) / 1000,
            raw={"small_ns": small, "large_ns": large},
        )
    yield difference_row(figures)

    run.progress("the core: memory")
    figures = core_figures("memory")
    yield Row(
        operation="memory of a bare resource",
        ours=figures["resident"],
        unit="bytes",
        target=f"≤ {BYTES_EACH} bytes",
        met=figures["resident"] <= BYTES_EACH,
        reference=f"traced {figures['traced']:.0f} bytes",
        note="resident memory that a million took, their ids included",
        raw=figures,
    )

    run.progress("the core: holds")
    figures = core_figures("holds")
    for name, told in (("filling", "a million come"), ("changing", "resources come and go")):
        longest = figures[name][-1]
        collections = figures[f"collections_while_{name}"]
        yield Row(
            operation=f"longest hold while {told}",
            ours=longest * 1e3,
            unit="ms",
            target=f"≤ {in_words(HOLD_SECONDS)}",
            met=longest <= HOLD_SECONDS,
            note="garbage collection included: "
            + ", ".join(
                f"{found['count']} of generation {generation}, the longest {in_words(found['longest'])}"
                for generation, found in collections.items()
                if found["count"]
            ),
            raw=figures,
        )
    yield Row(operation="a full garbage collection", ours=figures["full_collection"] * 1e3, unit="ms")
    yield from _drop(run)


def _drop(run: Run) -> Iterator[Row]:
    """Over the wire: the owner of 100 000 resources is gone."""
    with processes.router(max_resources_per_instance=200_000) as router:
        run.progress("an owner of 100 000 resources drops")
        found = delays(router, "drop", rounds=2 if run.quick else 4, times=2)
    yield found.row("an owner of 100 000 drops: longest delay of other calls", DELAY_SECONDS)
    free = [event["free_seconds"] for event in found.events]
    yield Row(
        operation="an owner of 100 000 drops: all are free after",
        ours=median(free) * 1e3,
        unit="ms",
        note="until another's first registration of one of them was answered; from then on all of them are free",
        raw={"seconds": free},
    )
