"""Looking up who owns a resource: in the table alone, at two sizes."""

from collections.abc import Iterator

from benchmarks.core_figures import FEW, LARGE, SMALL
from benchmarks.processes import core_figures
from benchmarks.report import Row, in_words, median, number
from benchmarks.running import Run

TITLE = "Lookup in the table (ids at random, each a new string as it comes over the wire)"

TARGET_SECONDS = 1e-6
DIFFERENCE = 1.3  # what counts as none


def measure(run: Run) -> Iterator[Row]:
    """All rows about lookups."""
    run.progress("lookups at 1 000 and 1 000 000 resources")
    figures = core_figures("costs", run.rounds)

    for in_use, size in ((SMALL, SMALL), (FEW, LARGE)):
        ours, plain = (figures[f"{name} {in_use} of {size}"] for name in ("lookup", "dict"))
        seconds = min(ours) / 1e9
        yield Row(
            operation=f"lookup among {number(size)}, {number(in_use)} in use",
            ours=seconds * 1e9,
            unit="ns",
            target=f"< {in_words(TARGET_SECONDS)}",
            met=seconds < TARGET_SECONDS,
            reference=f"plain dict {in_words(min(plain) / 1e9)}",
            ratio=min(ours) / min(plain),
            cpu_us=seconds * 1e6,
            note=f"the best of {len(ours)} rounds; in the median {in_words(median(ours) / 1e9)}, "
            f"and in a plain dict {in_words(median(plain) / 1e9)}",
            raw={"lookup_ns": ours, "dict_ns": plain},
        )

    def growth(name: str) -> float:
        large, small = (min(figures[f"{name} {SMALL} of {size}"]) for size in (LARGE, SMALL))
        return float(large / small)

    cold = {name: in_words(min(figures[f"{name} {LARGE} of {LARGE}"]) / 1e9) for name in ("lookup", "dict")}
    yield Row(
        operation=f"the same {number(SMALL)} in use: among {number(LARGE)} ÷ among {number(SMALL)}",
        ours=growth("lookup"),
        unit="times",
        target=f"no difference (≤ {DIFFERENCE} times)",
        met=growth("lookup") <= DIFFERENCE,
        reference=f"plain dict {growth('dict'):.2f} times",
        note=f"with all {number(LARGE)} in use, so that no cache holds them, a lookup takes {cold['lookup']}, "
        f"and in a plain dict {cold['dict']}",
        raw={name: values for name, values in figures.items() if name.startswith(("lookup", "dict"))},
    )
