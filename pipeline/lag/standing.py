"""From what Kafka said to what a book judges. Pure."""

from pipeline.kafka.heads import Place
from pipeline.kafka.survey import GroupAnswer, Survey
from pipeline.lag.book import Standing


def standings(answer: GroupAnswer, survey: Survey, behind: float) -> list[Standing]:
    """Return where a group stands on each partition whose bounds are known.

    ``behind``: the monotonic clock minus the wall clock, which turns a record's time into one of the book.
    """
    found = []
    for source, committed in answer.committed.items():
        bounds = survey.bounds.get(source)
        if bounds is None:
            continue
        start, end = bounds
        head = survey.heads.get(Place(source, start if committed is None else max(start, committed)))
        head_at = None if head is None or head.at_ms is None else head.at_ms / 1000 + behind
        found.append(Standing(source, start, end, committed, head_at, nothing=head is not None and head.empty))
    return found
