"""Renders SVG plots without a plotting library: rows of intervals, and lines of measured values, over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from xml.sax.saxutils import escape

from surgetank.timeline.events import TimelineEvent
from surgetank.timeline.intervals import IntervalRow

WIDTH, LEFT, RIGHT, TOP = 1000, 230, 20, 30
ROW = 22
PLOT_HEIGHT = 220
TICKS_MAX = 8
STEPS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)
FILLS = {"worker": "#4c78a8", "anomaly": "#eeca3b", "alert": "#e45756"}
FAILED = "#d62728"
STROKES = {
    "deploy": "#54a24b",
    "rebalance": "#b0b0b0",
    "worker_failed": FAILED,
    "operator_command": "#9d57c9",
    "rollout": "#54a24b",
}
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#9d57c9", "#72b7b2", "#eeca3b", "#9d755d")
LABEL_MAX = 34


@dataclass(frozen=True, slots=True)
class PlotLine:
    """A line: ``times`` in milliseconds since the epoch, ``values`` None where there is no measurement."""

    name: str
    times: Sequence[int]
    values: Sequence[float | None]


def intervals_plot(rows: Sequence[IntervalRow], points: Sequence[TimelineEvent], start: int, end: int) -> str:
    """Return an SVG with a bar per interval, one row below the other, and a vertical line per point event."""
    height = TOP + ROW * max(1, len(rows)) + 50
    body = _axis(start, end, height - 50)
    for point in points:
        x = _x(point.at, start, end)
        body.append(
            f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{height - 50}" stroke="{STROKES.get(point.kind, "#b0b0b0")}" '
            f'stroke-dasharray="3,2"><title>{escape(f"{point.who}: {point.what}")}</title></line>'
        )
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        body.append(_text(LEFT - 8, y + 15, _short(row.name), "end"))
        for interval in row.intervals:
            x = _x(interval.start, start, end)
            width = max(2.0, round(_x(interval.end, start, end) - x, 1))
            opacity = 1 if interval.ended else 0.55
            title = escape(f"{row.kind} {row.name}{'' if interval.ended else ', no end reported'}")
            body.append(
                f'<rect x="{x}" y="{y + 4}" width="{width}" height="{ROW - 8}" fill="{FILLS[row.kind]}" '
                f'opacity="{opacity}"><title>{title}</title></rect>'
            )
            if interval.failed:
                end_x = round(x + width - 3, 1)
                body.append(f'<rect x="{end_x}" y="{y + 1}" width="6" height="{ROW - 2}" fill="{FAILED}"/>')
    legend = [*FILLS.items(), *((kind.replace("_", " "), colour) for kind, colour in STROKES.items())]
    body += _legend(legend, height - 12)
    return _svg(height, body)


def lines_plot(title: str, lines: Sequence[PlotLine], start: int, end: int) -> str:
    """Return an SVG of lines over time; the y axis spans 0 (or a lower minimum) to the maximum."""
    base = TOP + PLOT_HEIGHT
    known = [value for line in lines for value in line.values if value is not None]
    low, high = min(0.0, *known, 0.0), max([0.0, *known])
    high = high if high > low else low + 1
    body = _axis(start, end, base)
    body.append(_text(LEFT, TOP - 12, title, "start"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = round(base - share * PLOT_HEIGHT, 1)
        body.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#eeeeee"/>')
        body.append(_text(LEFT - 8, y + 4, f"{low + share * (high - low):,.4g}", "end"))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        for part in _connected_parts(line):
            points = " ".join(
                f"{_x(at, start, end)},{round(base - (value - low) / (high - low) * PLOT_HEIGHT, 1)}"
                for at, value in part
            )
            body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    body += _legend([(line.name, COLOURS[n % len(COLOURS)]) for n, line in enumerate(lines[:8])], base + 38)
    return _svg(base + 50, body)


def _connected_parts(line: PlotLine) -> Iterable[list[tuple[int, float]]]:
    """Yield the points of a line, split at missing values."""
    part: list[tuple[int, float]] = []
    interval = min((b - a for a, b in pairwise(line.times)), default=0)
    for at, value in zip(line.times, line.values, strict=True):
        if part and (value is None or at - part[-1][0] > 1.5 * interval):
            yield part
            part = []
        if value is not None:
            part.append((at, value))
    if part:
        yield part


def _x(at: int, start: int, end: int) -> float:
    share = (min(max(at, start), end) - start) / max(1, end - start)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _axis(start: int, end: int, base: float) -> list[str]:
    seconds = max(1, (end - start) / 1000)
    step = next((step for step in STEPS if seconds / step <= TICKS_MAX), STEPS[-1])
    shape = "%m-%d %H:%M" if step >= 12 * 3600 else "%H:%M:%S" if step < 60 else "%H:%M"
    body = [f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" stroke="#888888"/>']
    first = -(-start // (step * 1000)) * step * 1000
    for at in range(first, end + 1, step * 1000):
        x = _x(at, start, end)
        body.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{base}" stroke="#eeeeee"/>')
        body.append(_text(x, base + 15, datetime.fromtimestamp(at / 1000, UTC).strftime(shape), "middle"))
    return body


def _legend(entries: Iterable[tuple[str, str]], y: float) -> list[str]:
    body, x = [], float(LEFT)
    for name, colour in entries:
        body.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        body.append(_text(x + 14, y, _short(name), "start"))
        x = round(x + 26 + 6.6 * len(_short(name)), 1)
    return body


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(text: str) -> str:
    return text if len(text) <= LABEL_MAX else f"{text[: LABEL_MAX - 1]}…"


def _svg(height: float, body: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )
