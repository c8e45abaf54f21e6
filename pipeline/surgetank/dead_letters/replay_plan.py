"""Decides which dead letters are sent again, and why others are not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.dead_letters.replay_marks import ReplayedLetters
from surgetank.dead_letters.selection import Selection
from surgetank.record_compression import RecordBytes


class Decision(StrEnum):
    """What a replay does with a dead letter that was selected. Of several reasons not to send it, the first counts."""

    SEND = "send"
    ELSEWHERE = "of another topic"
    ALREADY_SENT = "already sent"
    WITHOUT_VALUE = "without value"
    TOO_LARGE = "too large for its topic"
    PARKED = "parked"


DECISIONS = tuple(Decision)


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The rules of a replay. ``partitions`` are the pipeline's source topics with their number of partitions.

    A letter whose event failed ``attempts_max`` times or more is parked: it stays where it is. One whose value was left
    out cannot be sent, nor one of a topic or partition that the pipeline does not read, nor one that its topic does not
    take: with the headers of the letter the event is larger than it was.
    """

    selection: Selection
    partitions: Mapping[str, int]
    bytes_max: Mapping[str, RecordBytes]
    attempts_max: int

    def decide(
        self, letters: pa.RecordBatch, sent: ReplayedLetters, compressed: Callable[[int], int]
    ) -> npt.NDArray[np.int8]:
        """Return int8 [n], an index into ``DECISIONS``, -1 if not selected. The n letters are of one partition.

        ``compressed`` returns the most bytes that a row has compressed; it is called for rows that may be sent and do
        not fit otherwise.
        """
        selected = self.selection.mask(letters).to_numpy(zero_copy_only=False)
        decisions = np.where(selected, DECISIONS.index(Decision.SEND), -1).astype(np.int8)
        if not len(letters):
            return decisions

        def put(decision: Decision, where: npt.NDArray[np.bool_]) -> None:
            decisions[where & (decisions == DECISIONS.index(Decision.SEND))] = DECISIONS.index(decision)

        known, too_large = np.zeros((2, len(letters)), dtype=np.bool_)
        bytes_ = letters["bytes"].to_numpy()
        limit_of: dict[int, RecordBytes] = {}  # of rows that do not fit uncompressed
        for topic, number in self.partitions.items():
            inside = pc.and_(
                pc.equal(letters["source_topic"], topic),
                pc.and_(pc.greater_equal(letters["source_partition"], 0), pc.less(letters["source_partition"], number)),
            )
            theirs = pc.fill_null(inside, False).to_numpy(zero_copy_only=False)
            known |= theirs
            large = theirs & (bytes_ > self.bytes_max[topic].stored)
            limit_of |= dict.fromkeys(np.flatnonzero(large).tolist(), self.bytes_max[topic])
        put(Decision.ELSEWHERE, ~known)
        put(Decision.ALREADY_SENT, sent.mask(letters["partition"][0].as_py(), letters["offset"].to_numpy()))
        put(Decision.WITHOUT_VALUE, letters["cut"].to_numpy(zero_copy_only=False))
        for row, limit in limit_of.items():
            if decisions[row] == DECISIONS.index(Decision.SEND):
                too_large[row] = not limit.fit(int(bytes_[row]), partial(compressed, row))
        put(Decision.TOO_LARGE, too_large)
        put(Decision.PARKED, letters["attempts"].to_numpy() >= self.attempts_max)
        return decisions
