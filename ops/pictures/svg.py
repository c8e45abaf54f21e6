"""Renders charts of lines over time as SVG, in a grid, each with axes, legend and limit. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("#1f77b4", "#e8710a", "#2a9d4a", "#8e5bbf", "#c0392b", "#16808f", "#7f6a3d", "#5c6670")
WIDTH, HEIGHT = 320, 170  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 46  # around its plot
GAP = 8
GAP_STEPS = 1.5  # points further apart than this many steps are not joined
_FONT = 'font-family="system-ui,sans-serif" font-size="10"'


@dataclass(frozen=True, slots=True)
class ChartLine:
    """Values over seconds, in ascending order of time."""

    label: str
    seconds: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines on one pair of axes. ``unit`` is the name in Grafana; ``names`` are texts for the values 0, 1, ..."""

    title: str
    unit: str
    lines: tuple[ChartLine, ...]
    limit: float | None = None
    names: tuple[str, ...] = ()


def page(heading: str, charts: Sequence[Chart], seconds: float, step: float, columns: int = 3) -> str:
    """Return an SVG file: the heading, then the charts in rows, each with a time axis of ``seconds``."""
    rows = math.ceil(len(charts) / columns)
    width, height = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#f3f4f6"/>',
        f'<text x="{GAP}" y="20" font-size="13" font-weight="600" fill="#222">{escape(heading)}</text>',
    ]
    for number, chart in enumerate(charts):
        x = GAP + number % columns * (WIDTH + GAP)
        y = 24 + GAP + number // columns * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({x},{y})">{_chart(chart, seconds, step)}</g>')
    return "\n".join((*parts, "</svg>")) + "\n"


def ticks(top: float, count: int = 3) -> list[float]:
    """Return round values from 0 to at least ``top``, about ``count`` of them above 0."""
    rough = max(top, 1e-9) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(top / step * (1 - 1e-9)) + 1 or 1)] or [0.0, step]


def format_value(value: float, unit: str) -> str:
    """Format a value with its unit."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    short = f"{value / 1000:.4g} k" if value >= 1000 else f"{value:.4g}"
    return f"{short} s" if unit == "s" else f"{short}/s" if unit == "ops" else short


def segments(line: ChartLine, step: float) -> list[list[tuple[float, float]]]:
    """Return the points of a line, split at gaps and at values that are not finite."""
    out: list[list[tuple[float, float]]] = [[]]
    for second, value in zip(line.seconds, line.values, strict=True):
        if not math.isfinite(value):
            out.append([])
            continue
        if out[-1] and second - out[-1][-1][0] > GAP_STEPS * step:
            out.append([])
        out[-1].append((second, value))
    return [part for part in out if part]


def _chart(chart: Chart, seconds: float, step: float) -> str:
    top = max((value for line in chart.lines for value in line.values if math.isfinite(value)), default=0.0)
    marks = [float(value) for value in range(len(chart.names))] if chart.names else ticks(top or 1.0)
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(second: float) -> float:
        return LEFT + plot_w * second / seconds

    def y(value: float) -> float:
        return TOP + plot_h * (1 - value / marks[-1])

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="4" fill="#fff" stroke="#d8dade"/>',
        f'<text x="8" y="16" font-size="11" font-weight="600" fill="#222">{escape(chart.title)}</text>',
    ]
    for mark in marks:
        text = chart.names[int(mark)] if chart.names else format_value(mark, chart.unit)
        parts.append(f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - RIGHT}" stroke="#e6e8eb"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y(mark) + 3:.1f}" text-anchor="end" fill="#666">{escape(text)}</text>')
    for minute in range(int(seconds // 60) + 1):
        anchor = "middle" if x(60 * minute) < WIDTH - 24 else "end"
        parts.append(
            f'<text x="{x(60 * minute):.0f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="{anchor}" fill="#666">'
            f"{minute} min</text>"
        )
    if chart.limit is not None and chart.limit <= marks[-1]:
        height = f"{y(chart.limit):.1f}"
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="#d33" stroke-dasharray="4 3"/>')
    for number, line in enumerate(chart.lines):
        color = COLORS[number % len(COLORS)]
        drawn = "".join(
            "M" + "L".join(f"{x(second):.1f} {y(value):.1f}" for second, value in part) for part in segments(line, step)
        )
        if drawn:
            parts.append(f'<path d="{drawn}" fill="none" stroke="{color}" stroke-width="1.4" stroke-linecap="round"/>')
    return "".join(parts) + _legend(chart.lines)


def _legend(lines: Sequence[ChartLine]) -> str:
    """Render the labels below the plot in at most two rows, and the number of labels that do not fit."""
    parts, x, y = [], 10.0, HEIGHT - 18
    for number, line in enumerate(lines):
        wide = 16 + 5.2 * len(line.label)
        if x + wide > WIDTH - 8:
            if y > HEIGHT - 10:
                parts.append(f'<text x="{x:.0f}" y="{y}" fill="#666">+{len(lines) - number}</text>')
                break
            x, y = 10.0, y + 13
        parts.append(f'<rect x="{x:.0f}" y="{y - 6}" width="9" height="3" fill="{COLORS[number % len(COLORS)]}"/>')
        parts.append(f'<text x="{x + 12:.0f}" y="{y}" fill="#444">{escape(line.label)}</text>')
        x += wide + 6
    return "".join(parts)
