"""Reports how far a worker is: the committed offsets of its running tasks, and the oldest uncommitted records."""

from surgetank.records import TopicPartition
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.record_queues import RecordQueues

Positions = dict[TopicPartition, tuple[int, tuple[int, int] | None]]


def held_positions(mailbox: Mailbox, records: RecordQueues) -> Positions:
    """Return, for each partition of a running task, the committed offset and its oldest uncommitted record.

    The record is given as offset and timestamp (ms); None if no fetched record is uncommitted.
    """
    waiting = records.oldest()  # before the manager's positions: records move from the queues to the manager
    positions = mailbox.ask(lambda manager: manager.tasks.positions())
    return {source: (at, record or waiting.get(source)) for source, (at, record) in positions.items()}
