"""Estimates what a batch costs: seconds = row_seconds * rows + fixed_seconds, from measured batches. Pure.

The last measurements of each size class (1, 2 to 3, 4 to 7 rows, ...) are kept, and a line is fitted through the
medians of the classes. So a size that was not seen for long still counts, less and less, which a recursive least
squares over all batches would forget while all batches have the same size; and a pause of a few batches, of the garbage
collector for example, changes no median.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median

KEPT = 9  # measurements of each class: up to 4 outliers among them change nothing
FORGOTTEN = 1e-6  # a class with a smaller share of the largest weight is left out
HALF_LIFE = 400.0  # batches after which the measurements of a class count half
STALE = 2.0  # a line that differs by more than this factor from what was measured last is moved to it


@dataclass(frozen=True, slots=True)
class CostLine:
    """The seconds of a batch: ``row_seconds`` for each row, and ``fixed_seconds``. Both are at least 0."""

    row_seconds: float
    fixed_seconds: float

    def seconds(self, rows: float) -> float:
        """Return the seconds of a batch."""
        return self.row_seconds * rows + self.fixed_seconds


class _SizeClass:
    """The last measurements of batches of similar size."""

    def __init__(self) -> None:
        self._measured: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self.rows = self.seconds = 0.0
        self.at = 0

    def add(self, rows: int, seconds: float, at: int) -> None:
        """Add a measurement, the ``at``-th of all."""
        self._measured.append((rows, seconds))
        self.rows = median(rows for rows, _ in self._measured)
        self.seconds = median(seconds for _, seconds in self._measured)
        self.at = at

    def weight(self, now: int) -> float:
        """Return the weight of the class; errors are taken relative to its seconds."""
        fresh: float = 0.5 ** ((now - self.at) / HALF_LIFE)
        return fresh * len(self._measured) / (self.seconds * self.seconds)


class BatchCost:
    """The cost of batches as measured so far. ``line`` is None before the first measurement."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}
        self._measured = 0
        self.line: CostLine | None = None
        self.measured_rows = 0  # the largest batch

    def add(self, rows: int, seconds: float) -> None:
        """Take a measured batch. One without rows or without a duration is ignored."""
        if rows < 1 or not seconds > 0:
            return
        self._measured += 1
        self.measured_rows = max(self.measured_rows, rows)
        last = self._classes.setdefault(rows.bit_length(), _SizeClass())
        last.add(rows, seconds, self._measured)
        self.line = _moved(self._fitted(), last)

    def _fitted(self) -> CostLine:
        """Return the line of least squares; the proportional one if there is one class, or a coefficient below 0."""
        weighed = [(each.weight(self._measured), each.rows, each.seconds) for each in self._classes.values()]
        # Beside a class of this weight another one is less than the rounding of its sums.
        least = FORGOTTEN * max(weight for weight, _, _ in weighed)
        points = [point for point in weighed if point[0] >= least]
        total = sum(weight for weight, _, _ in points)
        rows = sum(weight * x for weight, x, _ in points) / total
        seconds = sum(weight * y for weight, _, y in points) / total
        spread = sum(weight * (x - rows) ** 2 for weight, x, _ in points)
        if len(points) > 1 and spread > 0:
            slope = sum(weight * (x - rows) * (y - seconds) for weight, x, y in points) / spread
            if slope <= 0:
                return CostLine(0.0, seconds)
            if (fixed := seconds - slope * rows) >= 0:
                return CostLine(slope, fixed)
        through_zero = sum(weight * x * y for weight, x, y in points) / sum(weight * x * x for weight, x, _ in points)
        return CostLine(through_zero, 0.0)


def _moved(line: CostLine, last: _SizeClass) -> CostLine:
    """Return the line, moved to the class that was measured last if that has become much slower or faster."""
    factor = last.seconds / line.seconds(last.rows)
    if 1 / STALE <= factor <= STALE:
        return line
    return CostLine(line.row_seconds * factor, line.fixed_seconds * factor)
