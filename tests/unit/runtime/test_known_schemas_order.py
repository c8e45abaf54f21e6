"""surgetank.runtime.known_schemas_order: a task waits where the schema of its next record is not known."""

from collections.abc import Callable

from surgetank.records import PartitionRecords, TaskId
from surgetank.runtime.known_schemas_order import KnownSchemasOrder
from surgetank.runtime.record_queues import RecordQueues
from tests.unit.runtime.test_record_queues import records_at


class UpTo:
    """A gate that knows the schemas of records below an offset of each partition."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def ready_rows(self, records: PartitionRecords) -> int:
        """Return how many are below."""
        return int((records.offsets < self.known.get(records.source.partition, 10**9)).sum())

    def why_waiting(self) -> str:
        """Return a reason."""
        return "ids"

    def when_changed(self, call: Callable[[], None]) -> None:
        """Do nothing."""


def offsets_of(queues: RecordQueues) -> dict[int, list[int]]:
    """Take all that is ready; return the offsets by partition."""
    return {
        each.source.partition: each.offsets.tolist()
        for task in queues.take(100, 10**9)
        for each in task.partitions
        if len(each)
    }


def test_a_task_waits_at_the_first_record_whose_schema_is_not_known() -> None:
    """Records before it are taken, other tasks go on, and waking lets it try again."""
    gate = UpTo()
    queues = RecordQueues(rows_max=100, bytes_max=10**9, order=KnownSchemasOrder(gate))
    gate.known[0] = 2
    queues.put([(TaskId("s", 0), 1, records_at(0, 0, 5)), (TaskId("s", 1), 1, records_at(1, 0, 3))])
    assert offsets_of(queues) == {0: [0, 1], 1: [0, 1, 2]}
    assert queues.waiting() == {TaskId("s", 0)}
    assert not queues
    assert (queues.rows, queues.ready_rows) == (3, 0)
    queues.wake()
    assert offsets_of(queues) == {}
    gate.known[0] = 4
    queues.wake()
    assert queues
    assert queues.ready_rows == 3
    assert offsets_of(queues) == {0: [2, 3]}
    gate.known[0] = 9
    queues.wake()
    assert offsets_of(queues) == {0: [4]}
    assert queues.waiting() == set()


def test_a_read_without_records_passes_a_gate() -> None:
    """Only its next offset matters."""
    gate = UpTo()
    gate.known[0] = 0
    queues = RecordQueues(rows_max=100, bytes_max=10**9, order=KnownSchemasOrder(gate))
    queues.put([(TaskId("s", 0), 1, records_at(0, 5, 0))])
    ((task,),) = (queues.take(10, 10**9),)
    assert task.partitions[0].next_offset == 5
