"""The largest key of a row of state: its row fits its changelog, however large the row becomes."""

from collections.abc import Mapping

from surgetank.declaration import Pipeline
from surgetank.errors import TopicsError
from surgetank.processing.stateful_features import row_serdes


def largest_key(pipeline: Pipeline, record_bytes: Mapping[str, int]) -> int:
    """Return the size in bytes of the largest key of a pipeline with state, given the largest record of each topic.

    Raises TopicsError if the largest row of a table does not fit its changelog even with an empty key.
    """
    found = {
        topic: record_bytes[topic] - serde.size
        for table, serde in row_serdes(pipeline)[0].items()
        for topic in (pipeline.changelogs[table],)
    }
    topic = min(found, key=lambda each: found[each])
    if found[topic] < 0:
        raise TopicsError(
            f"topic {topic!r} takes records of {record_bytes[topic]} bytes, but a row of its table may have "
            f"{record_bytes[topic] - found[topic]}: set its max.message.bytes to more"
        )
    return found[topic]
