"""Decides from which offset of a partition a task starts, given what the group and the brokers say. Pure."""

from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offset bounds of a partition: first offset, last stable offset and high watermark."""

    low: int
    stable: int
    high: int


class Processed(NamedTuple):
    """The offset after the last event of a partition that is known to have a score or dead letter.

    ``exact`` False: later events may have been processed too, because retention has deleted scores or dead letters.
    """

    offset: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """The start offset, and a remark to log. ``offset`` None: the group's offset does not fit the topic.

    ``skipped`` events are not processed by anyone, and ``repeated`` ones are processed again, because somebody else
    than a worker has set the offset. ``expired`` is the number of records that retention deleted before a worker read
    them: from the committed offset on, or from ``processed`` on if that is later and no worker committed the offset.
    """

    offset: int | None
    remark: str | None = None
    skipped: int = 0
    repeated: int = 0
    expired: int = 0


def start_offset(
    committed: int,
    bounds: Bounds,
    reset: Literal["earliest", "latest"],
    *,
    claimed: bool,
    recreated: bool = False,
    processed: Processed | None = None,
) -> Start:
    """Return the start offset of a partition.

    ``committed`` is negative if the group has no offset; ``claimed``: a worker committed it; ``recreated``: that worker
    read a topic of this name that is deleted. ``processed`` is None if no score or dead letter shows it. An offset
    between the last stable offset and the high watermark is valid: another producer's transaction is open before it.
    """
    if committed < 0:
        if processed is not None and bounds.low < processed.offset <= bounds.high:
            return Start(
                None,
                f"the group has no offset, though events before {processed.offset} were processed: its offsets have "
                f"expired or were deleted, and {processed.offset - bounds.low} events would be processed again",
            )
        return Start(bounds.low if reset == "earliest" else bounds.stable)
    if recreated:
        return Start(None, f"the committed offset {committed} is one of a deleted topic of this name")
    if committed > bounds.high:
        return Start(None, f"the committed offset {committed} is beyond its end {bounds.high}")
    unread = committed if claimed or processed is None else max(committed, processed.offset)
    if unread < bounds.low:
        expired = bounds.low - unread
        remark = f"{expired} records were deleted by retention before they were read"
        return Start(bounds.low, remark, expired=expired)
    if claimed:
        return Start(committed)
    start = max(committed, bounds.low)
    skipped = repeated = 0
    if processed is not None:
        skipped = max(0, start - max(processed.offset, bounds.low)) if processed.exact else 0
        repeated = max(0, processed.offset - start)
    return Start(start, _foreign(committed, processed, skipped, repeated), skipped, repeated)


def _foreign(committed: int, processed: Processed | None, skipped: int, repeated: int) -> str:
    """Return the remark on an offset that no worker committed."""
    remark = f"the offset {committed} was not committed by a worker of this pipeline but set otherwise: "
    if processed is None or not (processed.exact or repeated):
        return remark + (
            "events before it that no worker had processed are skipped, events behind it that one had are processed "
            "again"
        )
    if skipped:
        return remark + f"{skipped} events from {processed.offset} on are skipped"
    if repeated:
        at_least = "" if processed.exact else "at least "
        return remark + f"{at_least}{repeated} events before {processed.offset} are processed again"
    return remark + "no event is skipped or processed again"
