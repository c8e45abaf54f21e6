"""Notices that a source topic was deleted and created again: offsets of the old topic mean nothing in the new one.

A topic that is created again gets another id. Each committed offset names the id of its topic (``OffsetOwner``). Kafka
deletes the offsets of a group with the topic; but a worker that runs meanwhile may commit an offset of the old topic
afterwards.
"""

from collections.abc import Callable, Mapping

from surgetank.errors import OffsetsError
from surgetank.kafka.offset_owner import OffsetOwner


class SourceTopics:
    """The ids of the source topics when the worker started. ``look_up`` returns the ids of topics as of now.

    An id that is not known is "", and equals every other.
    """

    def __init__(self, ids: Mapping[str, str], look_up: Callable[[list[str]], Mapping[str, str]]) -> None:
        self._ids = ids
        self._look_up = look_up
        self._doubtful = False

    def doubt(self) -> None:
        """Let the next ``check`` look the ids up, because a topic could not be read. For any thread."""
        self._doubtful = True

    def check(self) -> None:
        """Raise OffsetsError if a topic was created again since the worker started. Raises BrokerError."""
        if not self._doubtful:
            return
        self._doubtful = False
        try:
            now = self._look_up(list(self._ids))
        except BaseException:
            self._doubtful = True
            raise
        for topic, was in self._ids.items():
            if _differ(now[topic], was):
                raise OffsetsError(
                    f"topic {topic!r} was deleted and created again while this worker ran: what it holds belongs to "
                    "the deleted topic. Start it again"
                )

    def recreated(self, topic: str, owner: OffsetOwner | None) -> bool:
        """Return whether an offset was committed for another topic of this name."""
        return owner is not None and _differ(owner.topic_id, self._ids[topic])


def _differ(one: str, other: str) -> bool:
    return "" not in {one, other} and one != other
