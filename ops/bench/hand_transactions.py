"""The hand-written loop with transactions: the minimum cost of exactly once, and the baseline of a worker's latency.

One thread, one member of a KIP-848 consumer group, one transactional producer. Scores and offsets are committed in one
transaction, the offsets with the group metadata, so that a replaced member cannot commit. Any error ends the process:
the next one with the same transactional id aborts the open transaction and continues at the committed offsets.

Choices, all in ``tuning.py``:

- Natural batches: a batch contains the records that arrived while the previous one was computed and committed, at most
  ``BATCH_ROWS_MAX``.
- A batch that is not full is committed at once. A commit takes a few round trips to the brokers, during which the next
  batch gathers; waiting longer would only add latency. Full batches mean that the loop is saturated: then one commit
  per ``TRANSACTION_SECONDS`` is enough, and the wait for the brokers becomes a small share of the time.
- ``retry.backoff.ms``: the brokers reject the first requests of a transaction while they still end the previous one;
  librdkafka's default of 100 ms would be the duration of every transaction.
- The offsets of a new transaction are sent before its records. Until the brokers have ended the previous transaction,
  librdkafka repeats the refused request for offsets after ``retry.backoff.ms``, but one for partitions after 20 ms.
- No second thread for commits: it would overlap computing and committing, at the cost of switches of the interpreter
  lock for each batch and of a second set of batches in flight.
"""

import gc
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from ops.bench import cpu_parts
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.hand_loop import produce_scores, score
from ops.bench.job import BenchJob
from ops.bench.tuning import (
    BATCH_ROWS_MAX,
    HAND_CONSUMER,
    HAND_GROUP_MEMBER,
    HAND_TRANSACTIONAL,
    TRANSACTION_SECONDS,
)

CALL_SECONDS = 30.0


class TransactionalClients:
    """A group member and a transactional producer that commit together. For one thread.

    ``done`` holds the offset to commit of each partition that has records in the open transaction. ``before_commit``
    is called before each commit and may produce records. Every method raises
    KafkaException if the brokers reject a request; the process must end then.
    """

    def __init__(self, job: ContenderArgs) -> None:
        self._events = job.events
        self.producer = Producer(
            {"bootstrap.servers": job.bootstrap, "transactional.id": job.name, **HAND_TRANSACTIONAL}
        )
        self.producer.init_transactions(CALL_SECONDS)
        self._consumer = Consumer(
            {"bootstrap.servers": job.bootstrap, "group.id": job.name, **HAND_CONSUMER, **HAND_GROUP_MEMBER}
        )
        self.done: dict[int, int] = {}
        self.before_commit: Callable[[], None] = lambda: None
        self._opened_at: float | None = None

    def subscribe(self, **callbacks: Any) -> None:
        """Join the group. ``on_assign`` and ``on_revoke`` as in confluent-kafka; by default a revocation commits."""
        default = {"on_revoke": lambda *_: self.commit(), "on_lost": self._lost}
        self._consumer.subscribe([self._events], **(default | callbacks))

    def poll(self) -> list[Any]:
        """Return the available messages, at most BATCH_ROWS_MAX; wait up to 0.1 seconds for the first."""
        first = self._consumer.poll(0.1)
        return [] if first is None else [first, *self._consumer.consume(BATCH_ROWS_MAX - 1, 0)]

    def transact(self, rows: int, produce: Callable[[], None]) -> None:
        """Produce the outputs of a batch of ``rows`` rows into the transaction; commit it if a commit is due."""
        now = time.monotonic()
        new = self._opened_at is None
        if self._opened_at is None:
            self.producer.begin_transaction()
            self._opened_at = now
        due = commit_due(now - self._opened_at, rows)
        if due and new:
            self._send_offsets()
        produce()
        if due:
            self.before_commit()
            if not new:
                self._send_offsets()
            self._end()

    def commit(self) -> None:
        """Commit the records and offsets of the open transaction, if one is open."""
        if self._opened_at is not None:
            self.before_commit()
            self._send_offsets()
            self._end()

    def _send_offsets(self) -> None:
        offsets = [KafkaTopicPartition(self._events, number, offset) for number, offset in self.done.items()]
        self.producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata(), CALL_SECONDS)

    def _end(self) -> None:
        self.producer.commit_transaction(CALL_SECONDS)
        self.done.clear()
        self._opened_at = None

    def close(self) -> None:
        """Commit the open transaction and leave the group."""
        self.commit()
        self._consumer.close()

    def _lost(self, *_: Any) -> None:
        raise SystemExit("partitions were lost; nothing of the open transaction is committed")


def commit_due(open_seconds: float, rows: int) -> bool:
    """Return whether to commit a transaction that has been open for ``open_seconds``. Pure.

    ``rows`` is the size of the last batch: after a batch that is not full no record is waiting.
    """
    return rows < BATCH_ROWS_MAX or open_seconds >= TRANSACTION_SECONDS


def main(job: ContenderArgs) -> None:
    """Run until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    scorer = BenchJob(job.name, job.events)
    clients = TransactionalClients(job)
    clients.subscribe()
    parts = cpu_parts.from_environment()
    gc.disable()  # as in the loop without transactions
    while not stopping:
        parts.start()
        messages = clients.poll()
        parts.end("pull")
        if messages:
            scores = score(messages, scorer, clients.done, parts)
            produce = partial(produce_scores, messages, scores, clients.producer, job.scores)
            clients.transact(len(messages), produce)
            clients.producer.poll(0)
            parts.end("produce")
            parts.count(len(messages))
        else:
            clients.commit()
            parts.end("commit")
    clients.close()


if __name__ == "__main__":
    try:
        main(contender_args())
    except KafkaException as error:
        raise SystemExit(f"the brokers refuse a request: {error.args[0]}") from None
