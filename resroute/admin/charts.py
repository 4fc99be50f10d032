"""Charts as SVG, drawn here so that they need no script."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH = 120
HEIGHT = 40


def chart(label: str, *series: Sequence[float | None], points: int = WIDTH) -> Markup:
    """Lines over time, the latest at the right, all on one scale that begins at 0.

    Args:
        label: what it shows, for who cannot see it.
        series: values at equal distances; None where there is none. The first has an area below.
        points: values that fit from left to right.
    """
    top = max((value for values in series for value in values if value is not None), default=0) or 1
    paths = []
    for number, values in enumerate(series):
        line = _line(values[-points:], points, top)
        if not line:
            continue
        if number == 0 and None not in values:
            first = line.partition(" ")[0].removeprefix("M").partition(",")[0]
            paths.append(f'<path class="area" d="{line} L{WIDTH},{HEIGHT} L{first},{HEIGHT} Z"/>')
        paths.append(f'<path{"" if number == 0 else " class=second"} d="{line}"/>')
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, label, Markup("".join(paths)))


def _line(values: Sequence[float | None], points: int, top: float) -> str:
    step = WIDTH / max(points - 1, 1)
    begin = WIDTH - step * (len(values) - 1)
    parts = []
    pen_is_up = True
    for number, value in enumerate(values):
        if value is None:
            pen_is_up = True
            continue
        x, y = begin + number * step, HEIGHT - 1 - value / top * (HEIGHT - 4)
        parts.append(f"{'M' if pen_is_up else 'L'}{x:.1f},{y:.1f}")
        pen_is_up = False
    return " ".join(parts)
