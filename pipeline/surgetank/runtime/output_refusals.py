"""Distinguishes outputs that brokers reject permanently from transient failures. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError

from surgetank.errors import OutputRefused
from surgetank.records import TaskId, TopicPartition

# Aborts of the same task from the same offsets with the same error after which the worker ends: about six seconds with
# the backoff between attempts, enough for a changed topic setting or ACL to reach all brokers.
REFUSALS_MAX = 6
# Errors that repeat for the same records until a topic setting, an ACL or the records change.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.POLICY_VIOLATION,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class _Refused:
    code: int
    offsets: Mapping[TopicPartition, int]
    times: int


class RefusalCounter:
    """Counts by task the consecutive aborts at the same committed offsets with the same error."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, _Refused] = {}

    def check(
        self,
        code: int,
        why: str,
        offsets: Mapping[TaskId, Mapping[TopicPartition, int]],
        find_causes: Callable[[], str],
    ) -> None:
        """Count an abort of these tasks. Raises OutputRefused, which quotes ``why``, at ``REFUSALS_MAX`` aborts.

        ``find_causes`` is called then, and returns a clause for the message.
        """
        if refused := self.refused(code, offsets):
            places = ", ".join(f"{source} from {at}" for task in refused for source, at in offsets[task].items())
            said = "; ".join(part for part in (why, find_causes()) if part)
            raise OutputRefused(
                f"the brokers refused {REFUSALS_MAX} times what was to be written for {places} ({said}). Nothing of it "
                "was committed, and trying again would not help: mend the topic or the right that it names "
                "(max.message.bytes of scores, dead letters and changelogs, ACLs), or the records, and start again"
            )

    def refused(self, code: int, offsets: Mapping[TaskId, Mapping[TopicPartition, int]]) -> list[TaskId]:
        """Count an abort of these tasks; return the tasks with at least ``REFUSALS_MAX`` aborts.

        ``code`` is the error code; ``offsets`` are the committed offsets of the tasks in the transaction.
        """
        if code not in REFUSALS:
            return []
        for task, at in offsets.items():
            before = self._tasks.get(task)
            again = before is not None and (before.code, before.offsets) == (code, at)
            self._tasks[task] = _Refused(code, at, before.times + 1 if before is not None and again else 1)
        return [task for task in offsets if self._tasks[task].times >= REFUSALS_MAX]

    def committed(self, tasks: Iterable[TaskId]) -> None:
        """Reset the counters of tasks that had a commit."""
        for task in tasks:
            self._tasks.pop(task, None)
