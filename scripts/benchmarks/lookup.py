"""Looking up who owns a resource: in the table alone, at two sizes."""

from collections.abc import Iterator

from benchmarks.core_figures import LARGE, SMALL
from benchmarks.processes import core_figures
from benchmarks.report import Row, in_words, median
from benchmarks.running import Run

TITLE = "Lookup in the table (ids at random, each a new string as it comes over the wire)"

TARGET_SECONDS = 1e-6
DIFFERENCE = 1.3


def measure(run: Run) -> Iterator[Row]:
    """All rows about lookups."""
    run.progress("lookups at 1 000 and 1 000 000 resources")
    figures = core_figures("costs", run.rounds)
    for name, key in (
        ("1 000", str(SMALL)),
        ("1 000 000, a thousand in use", f"few {LARGE}"),
        ("1 000 000, all in use", str(LARGE)),
    ):
        ours, plain = figures[f"lookup {key}"], figures[f"dict {key}"]
        seconds = median(ours) / 1e9
        yield Row(
            operation=f"lookup among {name}",
            ours=seconds * 1e9,
            unit="ns",
            target=f"< {in_words(TARGET_SECONDS)}",
            met=seconds < TARGET_SECONDS,
            reference=f"plain dict {in_words(median(plain) / 1e9)}",
            ratio=median(a / b for a, b in zip(ours, plain, strict=True)),
            cpu_us=seconds * 1e6,
            raw={"lookup_ns": ours, "dict_ns": plain},
        )
    yield difference_row(figures)


def difference_row(figures: dict[str, list[float]]) -> Row:
    """What a lookup costs more at a million resources than at a thousand, beside the same of a plain dictionary."""

    def more(name: str) -> float:
        both = zip(figures[f"{name} {LARGE}"], figures[f"{name} {SMALL}"], strict=True)
        return median(large - small for large, small in both)

    ratio = more("lookup") / more("dict")
    return Row(
        operation="lookup: 1 000 000 more than 1 000",
        ours=more("lookup"),
        unit="ns",
        target=f"≤ {DIFFERENCE} × a plain dict's",
        met=ratio <= DIFFERENCE,
        reference=f"plain dict {more('dict'):.0f} ns",
        ratio=ratio,
        note="the plain dict's difference is what memory costs that no cache holds",
        raw={name: values for name, values in figures.items() if name.startswith(("lookup", "dict"))},
    )
