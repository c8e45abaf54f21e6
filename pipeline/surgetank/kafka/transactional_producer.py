"""A transactional producer with a timeout for the one call of librdkafka that may never return.

``send_offsets_to_transaction`` asks the group's coordinator and ignores its timeout meanwhile. When that broker dies,
the call may block until another broker joins or leaves (librdkafka #5456 and #5511, open in 2.16; observed here to
block for minutes after the kill of one broker of three).
"""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

_Job = tuple[Callable[[], None], "Future[None]"]


class TransactionalProducer(Producer):  # type: ignore[misc]
    """As ``confluent_kafka.Producer``. After a call that timed out it must be discarded."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=_work_off, args=(self._jobs,), name="send offsets", daemon=True).start()
        weakref.finalize(self, self._jobs.put, None)

    def send_offsets_to_transaction(
        self, positions: Sequence[KafkaTopicPartition], metadata: Any, timeout: float
    ) -> None:
        """Add offsets to the open transaction, and meanwhile send the records that linger in the queue.

        Both take two round trips to the brokers; one after the other they would take four.
        Raises KafkaException, with _TIMED_OUT after ``timeout`` seconds.

        After a timeout the call continues in a thread that ends with it. Its later requests carry this producer's
        epoch, which the brokers reject once another producer has called ``init_transactions`` with the same id.
        """
        call = super().send_offsets_to_transaction
        done: Future[None] = Future()
        give_up = time.monotonic() + timeout
        self._jobs.put((lambda: call(positions, metadata, timeout), done))
        self.flush(timeout)
        try:
            done.result(max(0.0, give_up - time.monotonic()))
        except TimeoutError:
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, f"no answer to the offsets of a transaction in {timeout:g} s")
            ) from None


def _work_off(jobs: "queue.SimpleQueue[_Job | None]") -> None:
    """Make the calls one after the other. Holds no reference to the producer while it waits for the next call."""
    while (job := jobs.get()) is not None:
        call, done = job
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it goes to whoever asked for the call
            done.set_exception(error)
        else:
            done.set_result(None)
        del job, call, done
