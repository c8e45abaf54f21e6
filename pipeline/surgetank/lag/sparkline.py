"""A sparkline of block characters. Pure."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[tuple[float, float]], seconds: float, width: int) -> str:
    """Return a sparkline of ``width`` characters over the last ``seconds`` of points (seconds ago, value).

    Each character shows the largest value of its time, scaled from 0 to the largest of all; a space has no point.
    """
    slots: list[float | None] = [None] * width
    for ago, value in points:
        if 0 <= ago < seconds:
            slot = min(width - 1, int((seconds - ago) / seconds * width))
            known = slots[slot]
            slots[slot] = value if known is None else max(known, value)
    top = max((value for value in slots if value is not None), default=0.0)
    return "".join(" " if value is None else _block(value, top) for value in slots)


def _block(value: float, top: float) -> str:
    return BLOCKS[round(value / top * (len(BLOCKS) - 1))] if top > 0 else BLOCKS[0]
