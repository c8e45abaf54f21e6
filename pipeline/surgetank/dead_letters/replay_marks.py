"""The record of which dead letters were sent again: one mark per transaction of a replay.

A mark is in the same transaction as the events, so it exists exactly if they were sent.
"""

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from surgetank.records import Int64s


def mark(topic_id: str, partition: int, offsets: Int64s) -> bytes:
    """Return a mark for letters of one partition; ``offsets`` is int64 [k], ascending, k > 0.

    ``topic_id`` is the id of the dead-letter topic, "" where brokers give none.
    """
    breaks = np.flatnonzero(np.diff(offsets) != 1)
    firsts, lasts = offsets[np.r_[0, breaks + 1]], offsets[np.r_[breaks, len(offsets) - 1]]
    ranges = np.column_stack((firsts, lasts)).tolist()
    return json.dumps({"topic_id": topic_id, "partition": partition, "offsets": ranges}).encode()


class ReplayedLetters:
    """The offsets of the letters that the marks name, by partition. Marks of a former topic do not count.

    Raises ValueError for a value that is no mark.
    """

    def __init__(self, topic_id: str, marks: Iterable[bytes | None]) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {}
        for value in marks:
            try:
                found = json.loads(value or b"")
                theirs, partition = str(found["topic_id"]), int(found["partition"])
                each = [(int(first), int(last)) for first, last in found["offsets"]]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{value!r} is no mark of a replay: {error!r}") from None
            if theirs == topic_id:
                ranges.setdefault(partition, []).extend(each)
        self._ranges = {partition: np.array(sorted(each)) for partition, each in ranges.items()}
        for array in self._ranges.values():
            np.maximum.accumulate(array[:, 1], out=array[:, 1])  # ranges may overlap

    def mask(self, partition: int, offsets: Int64s) -> npt.NDArray[np.bool_]:
        """Return bool [n]: which of the letters of a partition were sent. ``offsets`` is int64 [n]."""
        ranges = self._ranges.get(partition)
        if ranges is None:
            return np.zeros(len(offsets), dtype=np.bool_)
        place = np.searchsorted(ranges[:, 0], offsets, side="right") - 1
        inside: npt.NDArray[np.bool_] = (place >= 0) & (offsets <= ranges[np.maximum(place, 0), 1])
        return inside
