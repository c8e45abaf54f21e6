"""Builds lag windows and end offset histories from a few numbers."""

from collections.abc import Iterable

from surgetank.lag.end_offset_history import EndOffsetHistory, LagWindow, Observation


def window(seen: Iterable[tuple[float, int, int]]) -> LagWindow:
    """Return the window with these observations (time, end, processed)."""
    made = LagWindow()
    for at, end, done in seen:
        made.add(Observation(at, end, done))
    return made


def every(seconds: float, ends: Iterable[int], done: Iterable[int]) -> LagWindow:
    """Return the window with observations at this interval in seconds, from 0 on."""
    return window((n * seconds, e, d) for n, (e, d) in enumerate(zip(ends, done, strict=True)))


def history(points: Iterable[tuple[float, int]]) -> EndOffsetHistory:
    """Return the history of these points (time, end offset)."""
    made = EndOffsetHistory()
    for at, end in points:
        made.add(at, end)
    return made
