"""A thousand resources and a million, over a thousand connections: what each costs, and what none is held up by."""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import processes
from benchmarks.accounting import resident_bytes
from benchmarks.core_figures import EACH, INSTANCES, LARGE, SMALL
from benchmarks.crowd import SETTINGS, Crowd
from benchmarks.delays import delays
from benchmarks.holds import Holds, holds_of
from benchmarks.processes import Target, core_figures
from benchmarks.report import NotMeasured, Row, in_words, median
from benchmarks.running import Run

TITLE = "A million resources of a thousand instances, over the wire"

GROWTH = 1.3
BYTES_EACH = 450
HOLD_SECONDS = 0.005
DELAY_SECONDS = 0.010
OPERATIONS = 512  # of one turn: half of the small router's resources


def measure(run: Run) -> Iterator[Row]:
    """All rows about many resources."""
    with ExitStack() as stack:
        small, large = (
            stack.enter_context(processes.router(name, settings=SETTINGS))
            for name in ("router-1000", "router-1000000")
        )
        yield from _growth(run, small, large)
    yield from _coming_and_going(run)
    yield from _drop(run)


def _growth(run: Run, small: Target, large: Target) -> Iterator[Row]:
    """What operations cost a router with a thousand resources and one with a million, in turn."""
    run.progress("a million come")
    with Crowd(small.port, small.pid) as few, Crowd(large.port, large.pid) as many:
        few.fill(SMALL // INSTANCES)
        before = resident_bytes(large.pid)
        many.fill(EACH)
        bytes_each = (resident_bytes(large.pid) - before) / LARGE
        found: dict[tuple[str, Crowd], list[float]] = {}
        for number in range(run.rounds + 1):
            run.progress(f"with a thousand and with a million: round {number} of {run.rounds}")
            for what, costs in _round(few, many, turns=4 if run.quick else 8).items():
                if number:  # the first one warms up
                    found.setdefault(what, []).append(median(costs))

    core = core_figures("costs", run.rounds)
    for name, told in (
        ("register", "register one"),
        ("release", "release one"),
        ("call", "call by resource"),
    ):
        of_few, of_many = found[name, few], found[name, many]
        growth = median(a / b for a, b in zip(of_many, of_few, strict=True))
        alone = [in_words(median(core[f"{name} {size}"]) / 1e9) for size in (SMALL, LARGE) if name != "call"]
        yield Row(
            operation=f"{told}, a million in place",
            ours=median(of_many) * 1e6,
            target=f"≤ {GROWTH} × that at 1 000",
            met=growth <= GROWTH,
            reference=f"1 000: {in_words(median(of_few))}",
            ratio=growth,
            cpu_us=median(of_many) * 1e6,
            note=f"in the core alone {' and '.join(alone)}: memory that no cache holds" if alone else "",
            raw={"small_seconds": of_few, "large_seconds": of_many},
        )
    run.progress("the core's memory")
    memory = core_figures("memory")
    yield Row(
        operation="memory of a bare resource",
        ours=bytes_each,
        unit="bytes",
        target=f"≤ {BYTES_EACH} bytes",
        met=bytes_each <= BYTES_EACH,
        reference=f"core alone {memory['resident']:.0f} bytes",
        note="by how much the router's resident memory grew while a million came, shared out",
        raw=memory,
    )


def _round(few: Crowd, many: Crowd, turns: int) -> dict[tuple[str, Crowd], list[float]]:
    costs: dict[tuple[str, Crowd], list[float]] = {}
    for turn in range(turns):
        for crowd in (many, few) if turn % 2 else (few, many):
            for name in ("register", "release", "call"):
                costs.setdefault((name, crowd), []).append(getattr(crowd, name)(OPERATIONS))
    return costs


def _coming_and_going(run: Run) -> Iterator[Row]:
    """What a million resources that come and go hold up."""
    with processes.router("watched", watched=True, settings=SETTINGS) as router:
        run.progress("a million come and go")
        found = delays(router, "million", rounds=1 if run.quick else 2, times=1)
        seen = holds_of(router)
    for what, told in (
        ("come", "a million come, in requests of 1 000"),
        ("change", "instances of 1 000 drop and come again, in requests of 100"),
        ("go", "all thousand instances drop at once"),
    ):
        yield seen.row(f"{told}: longest hold", HOLD_SECONDS, found.of(what).rounds)
        yield found.of(what).row(f"{told}: longest delay of other calls", DELAY_SECONDS)
    before, at_a_million = (
        _full_collections(seen.during(found.of(what).events)) for what in ("collect before", "collect")
    )
    yield Row(
        operation="a full garbage collection at a million",
        ours=median(at_a_million) * 1e3,
        unit="ms",
        reference=f"no resources {in_words(median(before))}",
        note="made for this figure: a router makes one rarely",
        raw={"seconds": at_a_million, "before_seconds": before},
    )


def _full_collections(seen: Holds) -> list[float]:
    took = [hold.seconds for hold in seen.collections if hold.what == "2"]
    if not took:
        raise NotMeasured("the watched router made no full garbage collection when told to")
    return took


def _drop(run: Run) -> Iterator[Row]:
    """The owner of 100 000 resources is gone."""
    with processes.router(
        "watched", watched=True, settings={"max_resources_per_instance": 200_000}
    ) as router:
        run.progress("an owner of 100 000 resources drops")
        found = delays(router, "drop", rounds=2 if run.quick else 4, times=2)
        seen = holds_of(router)
    yield seen.row("an owner of 100 000 drops: longest hold", HOLD_SECONDS, found.rounds)
    yield found.row("an owner of 100 000 drops: longest delay of other calls", DELAY_SECONDS)
    free = [event["free_seconds"] for event in found.events]
    yield Row(
        operation="an owner of 100 000 drops: all are free after",
        ours=median(free) * 1e3,
        unit="ms",
        note="until another's first registration of one of them was answered; from then on all of them are free",
        raw={"seconds": free},
    )
