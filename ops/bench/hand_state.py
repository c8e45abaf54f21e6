"""(a) A hand-written stateful loop, optimised for speed: state in rocksdict, with a changelog.

At least once: before offsets are committed, once a second, scores and changed rows are on their topics. A row that
changed several times within that second is written once. The rows in use are one array, which the compiled update
changes in place; rows not used recently are evicted and read again from RocksDB.
"""

import gc
import json
import signal
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import rocksdict
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from rocksdict import Rdict, WriteBatch

from ops.bench import cpu_parts
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.cpu_parts import CpuParts
from ops.bench.hand_loop import assigned, produce_scores
from ops.bench.payments import layout
from ops.bench.payments_job import PaymentsJob, pack, unpack
from ops.bench.tuning import (
    BATCH_ROWS_MAX,
    HAND_CHANGELOG,
    HAND_COMMIT_SECONDS,
    HAND_CONSUMER,
    HAND_PRODUCER,
    HAND_ROCKSDB,
    HAND_ROWS,
)

Int64s = npt.NDArray[np.int64]

_NOBODY = b""


class Cards:
    """The rows of cards: some in memory, all written ones in RocksDB."""

    def __init__(self, folder: Path, rows_max: int = HAND_ROWS) -> None:
        self.rows = layout.rows(rows_max)
        self._db = Rdict(str(folder), _options())
        self._writing = rocksdict.WriteOptions()
        self._writing.disable_wal = not HAND_ROCKSDB["write_ahead_log"]  # type: ignore[method-assign,assignment] # the changelog is the log
        self._slot: dict[bytes, int] = {}
        self._name = [_NOBODY] * rows_max
        self._partition = np.zeros(rows_max, dtype=np.int64)
        self._used = np.zeros(rows_max, dtype=np.bool_)
        self._changed = np.zeros(rows_max, dtype=np.bool_)
        self._free = list(range(rows_max))

    def find(self, keys: list[bytes]) -> list[int | None]:
        """Return the index in ``rows`` of each key, None for keys that are not in memory."""
        return list(map(self._slot.get, keys))

    def fetch(self, keys: list[bytes], partitions: list[int]) -> None:
        """Load the rows of distinct keys into memory, which must have room for them."""
        slots = [self._free.pop() for _ in keys]
        self.rows[slots] = unpack(cast("list[bytes | None]", self._db.get([*keys])))
        self._slot.update(zip(keys, slots, strict=True))
        self._partition[slots] = partitions
        for slot, key in zip(slots, keys, strict=True):
            self._name[slot] = key

    @property
    def room(self) -> int:
        """The number of further rows that fit in memory."""
        return len(self._free)

    def make_room(self) -> None:
        """Evict the rows not used since the last call, or all rows if all were used. Call it after ``take``."""
        idle = ~self._used
        idle[self._free] = False
        if not idle.any():
            idle = ~idle
            idle[self._free] = False
        for slot in np.flatnonzero(idle).tolist():
            del self._slot[self._name[slot]]
            self._free.append(slot)
        self._used[:] = False

    def touched(self, slots: Int64s) -> None:
        """Mark these rows as changed."""
        self._used[slots] = True
        self._changed[slots] = True

    def take(self) -> tuple[list[bytes], list[bytes], list[int]]:
        """Return keys, rows and partitions of all changed rows, and write them to RocksDB."""
        slots = np.flatnonzero(self._changed)
        self._changed[:] = False
        keys = [self._name[slot] for slot in slots.tolist()]
        values = pack(self.rows[slots])
        self.write(keys, values)
        return keys, values, self._partition[slots].tolist()

    def write(self, keys: list[bytes], values: list[bytes]) -> None:
        """Write rows to RocksDB in key order, which is faster."""
        batch = WriteBatch(raw_mode=True)
        for at in sorted(range(len(keys)), key=keys.__getitem__):
            batch.put(keys[at], values[at])
        self._db.write(batch, self._writing)

    def close(self) -> None:
        """Flush everything to disk."""
        self._db.close()


def _options() -> rocksdict.Options:
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(HAND_ROCKSDB["block_cache"]))
    blocks.set_bloom_filter(HAND_ROCKSDB["bloom_filter_bits"], block_based=False)
    blocks.set_data_block_index_type(rocksdict.DataBlockIndexType.binary_and_hash())
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(getattr(rocksdict.DBCompressionType, HAND_ROCKSDB["compression"])())
    options.set_compaction_style(getattr(rocksdict.DBCompactionStyle, HAND_ROCKSDB["compaction_style"])())
    options.set_allow_mmap_reads(HAND_ROCKSDB["allow_mmap_reads"])
    options.set_write_buffer_size(HAND_ROCKSDB["write_buffer_size"])
    options.set_max_write_buffer_number(HAND_ROCKSDB["max_write_buffer_number"])
    options.set_max_background_jobs(2)
    return options


def restore(cards: Cards, job: ContenderArgs, partitions: list[int]) -> int:
    """Read the changelog to its end, committed records only, into RocksDB; return the number of records."""
    own = {"bootstrap.servers": job.bootstrap, "group.id": f"{job.name}-restore", "enable.partition.eof": True}
    reader = Consumer({**HAND_CONSUMER, **own})
    records = 0
    try:
        left = set(partitions)
        reader.assign([KafkaTopicPartition(job.changelog, n, 0) for n in sorted(left)])
        while left:
            last: dict[Any, Any] = {}
            for message in reader.consume(100_000, 0.1):
                error = message.error()
                if error is None:
                    last[message.key()] = message.value()
                    records += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
            cards.write(list(last), list(last.values()))
    finally:
        reader.close()
    return records


def produce_rows(producer: Producer, topic: str, keys: list[bytes], values: list[bytes], where: list[int]) -> None:
    """Produce rows to a changelog; ``where`` are their partitions."""
    produce = producer.produce
    for key, value, partition in zip(keys, values, where, strict=True):
        while True:
            try:
                produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.01)


def main(job: ContenderArgs, scoring: type[PaymentsJob] = PaymentsJob) -> None:
    """Run until SIGTERM; ``scoring`` does the work of a batch."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    failed: list[Any] = []
    options = {"bootstrap.servers": job.bootstrap, "on_delivery": lambda error, _: failed.append(error)}
    consumer = Consumer({"bootstrap.servers": job.bootstrap, "group.id": job.name, **HAND_CONSUMER})
    producer, changelog = Producer({**options, **HAND_PRODUCER}), Producer({**options, **HAND_CHANGELOG})
    partitions = assigned(consumer, job)
    folder = Path(job.folder) / "rows"
    fresh = not folder.exists()
    cards = Cards(folder)
    if fresh:
        began = time.monotonic()
        records = restore(cards, job, partitions)
        print(json.dumps({"restored": records, "seconds": time.monotonic() - began}), flush=True)
    scorer = scoring(job.name, job.events)
    parts = cpu_parts.from_environment()
    gc.disable()
    done: dict[int, int] = {}

    def commit(*, wait: bool) -> None:
        produce_rows(changelog, job.changelog, *cards.take())
        changelog.flush()
        producer.flush()
        if failed:
            raise KafkaException(failed[0])
        if done:
            slots = [KafkaTopicPartition(job.events, number, offset) for number, offset in done.items()]
            consumer.commit(offsets=slots, asynchronous=not wait)

    def room_for(rows: int) -> None:
        if cards.room < rows:
            commit(wait=False)
            while cards.room < rows:
                cards.make_room()

    commit_at = time.monotonic() + HAND_COMMIT_SECONDS
    while not stopping:
        parts.start()
        messages = [first] if (first := consumer.poll(0.1)) is not None else []
        if messages:
            messages += consumer.consume(BATCH_ROWS_MAX - 1, 0)
            parts.end("pull")
            room_for(len(messages))
            parts.end("commit")
            work(messages, scorer, cards, producer, job.scores, done, parts)
        producer.poll(0)
        changelog.poll(0)
        parts.end("produce")
        if time.monotonic() >= commit_at:
            commit(wait=False)
            commit_at = time.monotonic() + HAND_COMMIT_SECONDS
            parts.end("commit")
    commit(wait=True)
    consumer.close()
    cards.close()


def work(
    messages: list[Any],
    scorer: PaymentsJob,
    cards: Cards,
    producer: Producer,
    topic: str,
    done: dict[int, int],
    parts: CpuParts,
) -> None:
    """Score a batch and produce the scores; then set in ``done`` the offset to commit of each of its partitions."""
    produce_scores(messages, score(messages, scorer, cards, done, parts), producer, topic)
    parts.count(len(messages))


def score(messages: list[Any], scorer: PaymentsJob, cards: Cards, done: dict[int, int], parts: CpuParts) -> list[bytes]:
    """Return the encoded scores, update the rows of the cards, and set in ``done`` the offset of each partition."""
    for message in messages:
        if message.error() is not None:
            raise KafkaException(message.error())
    keys = [message.key() for message in messages]
    partitions = [message.partition() for message in messages]
    offsets = [message.offset() for message in messages]
    values = [message.value() for message in messages]
    parts.end("pull")
    found = cards.find(keys)
    if None in found:
        new = {key: partition for key, partition, at in zip(keys, partitions, found, strict=True) if at is None}
        cards.fetch(list(new), list(new.values()))
        found = cards.find(keys)
    slots = np.array(found, dtype=np.int64)
    parts.end("features")
    scores = scorer.score(values, cards.rows, slots, partitions, offsets, parts.end)
    cards.touched(slots)
    done.update(zip(partitions, [offset + 1 for offset in offsets], strict=True))
    return scores


if __name__ == "__main__":
    main(contender_args())
