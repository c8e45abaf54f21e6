"""From what Kafka said to what a book judges. Pure."""

from pipeline.kafka.offset_collector import CollectedOffsets, GroupDescription
from pipeline.kafka.oldest_records import ReadPosition
from pipeline.lag.lag_evaluator import PartitionOffsets


def partition_offsets(answer: GroupDescription, survey: CollectedOffsets, behind: float) -> list[PartitionOffsets]:
    """Return where a group stands on each partition whose bounds are known.

    ``behind``: the monotonic clock minus the wall clock, which turns a record's time into one of the book.
    """
    found = []
    for source, committed in answer.committed.items():
        bounds = survey.bounds.get(source)
        if bounds is None:
            continue
        start, end = bounds
        head = survey.heads.get(ReadPosition(source, start if committed is None else max(start, committed)))
        head_at = None if head is None or head.at_ms is None else head.at_ms / 1000 + behind
        found.append(PartitionOffsets(source, start, end, committed, head_at, nothing=head is not None and head.empty))
    return found
