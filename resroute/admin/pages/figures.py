"""The figures of the overview: what is going on now, and in the last minutes."""

from collections.abc import Callable, Iterator, Sequence

import attrs
from markupsafe import Markup

from resroute.admin.charts import chart
from resroute.admin.formats import grouped, rate, short
from resroute.admin.pages.desk import Desk
from resroute.admin.sampling import MAX_SAMPLES, SAMPLE_SECONDS, Sample, Sampler

MINUTES = round((MAX_SAMPLES - 1) * SAMPLE_SECONDS / 60)
"""What the charts show, when the router has been up for so long."""

_LEAST_POINTS = 15

Line = Callable[[Sample], float | None]


@attrs.frozen
class Figure:
    """One number, and how it came to that."""

    name: str
    now: str
    chart: Markup
    below: str


class Figures:
    """Draws them; once for each sample, however many look.

    Args:
        desk: where they are shown.
        sampler: of whose samples.
    """

    def __init__(self, desk: Desk, sampler: Sampler) -> None:
        self._desk = desk
        self._sampler = sampler
        self._drawn: tuple[int, str] = -1, ""

    def text(self) -> str:
        """What the overview has of them, as HTML."""
        count, text = self._drawn
        if count != self._sampler.count:
            text = self._desk.render("figures.html", figures=self.all())
            self._drawn = self._sampler.count, text
        return text

    def all(self) -> Sequence[Figure]:
        """Each of them."""
        sizes = self._desk.router.gauges.sizes()
        samples = self._sampler.samples
        return list(_figures(samples, sizes.sessions, sizes.resources, sizes.calls_in_flight))


def _figures(samples: Sequence[Sample], sessions: int, resources: int, in_flight: int) -> Iterator[Figure]:
    def figure(
        name: str, now: str, show: Callable[[float], str], get: Line, second: Line | None = None
    ) -> Figure:
        values = list(map(get, samples))
        series = [values] if second is None else [values, list(map(second, samples))]
        drawn = chart(f"{name} in the last minutes", *series, points=max(len(samples), _LEAST_POINTS))
        top = max((value for value in values if value is not None), default=None)
        return Figure(name, now, drawn, "" if top is None else f"at most {show(top)}")

    last = samples[-1] if samples else None
    yield figure(
        "Calls per second",
        rate(None if last is None else last.calls_per_second),
        rate,
        lambda it: it.calls_per_second,
    )
    yield figure(
        "p50 / p99 in ms",
        "–" if last is None or last.p50_ms is None else f"{short(last.p50_ms)} / {short(last.p99_ms)}",
        short,
        lambda it: it.p99_ms,
        lambda it: it.p50_ms,
    )
    yield figure(
        "Errors per second",
        rate(None if last is None else last.errors_per_second),
        rate,
        lambda it: it.errors_per_second,
    )
    yield figure("Calls in flight", grouped(in_flight), grouped, lambda it: it.calls_in_flight)
    yield figure("Sessions", grouped(sessions), grouped, lambda it: it.sessions)
    yield figure("Resources", grouped(resources), grouped, lambda it: it.resources)
