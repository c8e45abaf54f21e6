"""A line of blocks that shows how a number went, in the width of some letters. Pure."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[tuple[float, float]], seconds: float, width: int) -> str:
    """Return the line of (seconds ago, value), oldest first, over the last ``seconds``: one sign per ``width``-th.

    A sign shows the largest value of its time, between 0 and the largest of all; a time without a point is a space.
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
