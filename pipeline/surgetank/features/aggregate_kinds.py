"""The kinds of aggregates, and what each needs in the slots of a window's ring.

Numbers of kinds and accumulators are in fingerprints on disk and never change.
"""

from enum import IntEnum
from typing import NamedTuple


class Accumulator(IntEnum):
    """The accumulators of a slot. EVENTS counts all events of the bucket, the others use events with a value."""

    EVENTS = 0
    COUNT = 1
    SUM = 2
    MIN = 3
    MAX = 4
    MEAN = 5
    SQUARES = 6  # the sum of squared distances from the mean; its cells follow the cells of the mean


class RingRead(IntEnum):
    """How ``windows`` computes a result from the slots of a ring."""

    TOTAL = 0  # the sum of the first accumulator
    RATIO = 1  # the sum of the first accumulator divided by that of the second; missing if that is 0
    SMALLEST = 2
    GREATEST = 3
    DEVIATION = 4  # from means, counts and squared distances


class RingUse(NamedTuple):
    """The accumulators that an aggregate needs in each slot of its window's ring, and how it is read from them."""

    read: RingRead
    accumulators: tuple[Accumulator, ...]


class AggregateKind(IntEnum):
    """The kinds of aggregates of a key."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    MIN = 3
    MAX = 4
    STD = 5  # of the population: divided by n, not by n - 1
    LAST = 6
    SECONDS_SINCE_LAST = 7

    @property
    def ring(self) -> RingUse | None:
        """The use of the window's ring; None for a kind without a window."""
        return _RINGS.get(self)

    @property
    def exact(self) -> bool:
        """Whether another order of summation gives the same bits."""
        return self.ring is None or not {Accumulator.SUM, Accumulator.MEAN} & set(self.ring.accumulators)


_RINGS = {
    AggregateKind.COUNT: RingUse(RingRead.TOTAL, (Accumulator.EVENTS,)),
    AggregateKind.SUM: RingUse(RingRead.TOTAL, (Accumulator.SUM,)),
    AggregateKind.MEAN: RingUse(RingRead.RATIO, (Accumulator.SUM, Accumulator.COUNT)),
    AggregateKind.MIN: RingUse(RingRead.SMALLEST, (Accumulator.MIN,)),
    AggregateKind.MAX: RingUse(RingRead.GREATEST, (Accumulator.MAX,)),
    AggregateKind.STD: RingUse(RingRead.DEVIATION, (Accumulator.MEAN, Accumulator.COUNT, Accumulator.SQUARES)),
}
