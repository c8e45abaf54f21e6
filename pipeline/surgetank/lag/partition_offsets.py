"""Converts collected offsets to the input of the lag evaluator. Pure."""

from surgetank.kafka.offset_collector import CollectedOffsets, GroupDescription
from surgetank.kafka.oldest_records import ReadPosition
from surgetank.lag.lag_evaluator import PartitionOffsets


def partition_offsets(
    group: GroupDescription, collected: CollectedOffsets, clock_offset: float
) -> list[PartitionOffsets]:
    """Return the offsets of a group on each partition whose log start and end are known.

    ``clock_offset`` is the monotonic clock minus the wall clock in seconds; it converts record timestamps.
    """
    partitions = []
    for source, committed in group.committed.items():
        bounds = collected.bounds.get(source)
        if bounds is None:
            continue
        start, end = bounds
        oldest = collected.heads.get(ReadPosition(source, start if committed is None else max(start, committed)))
        oldest_at = None if oldest is None or oldest.at_ms is None else oldest.at_ms / 1000 + clock_offset
        only_markers = oldest is not None and oldest.empty
        partitions.append(PartitionOffsets(source, start, end, committed, oldest_at, only_markers))
    return partitions
