"""Reads scores as a consumer would (read_committed) and writes the latency of each to a file.

It reads only some of the partitions: on a small machine a reader of all would take CPU from the measured contenders.
The causes of a delay, a batch or a transaction, delay all partitions alike.
"""

import signal
import sys
import time

import numpy as np
import numpy.typing as npt
from confluent_kafka import TopicPartition as KafkaTopicPartition

from ops.bench.job import Avro
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

PARTITIONS = (0, 4)

Floats = npt.NDArray[np.float64]


def main(bootstrap: str, topic: str, file: str) -> None:
    """Read until SIGTERM, then write the results."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    avro = Avro("score")
    reader = clients.reader(KafkaSettings(bootstrap=bootstrap), fetch_wait_max_ms=50, auto_offset_reset="earliest")
    reader.assign([KafkaTopicPartition(topic, number, 0) for number in PARTITIONS])
    due: list[Floats] = []
    took: list[Floats] = []
    while not stopping:
        first = reader.poll(0.05)
        if first is None:
            continue
        messages = [first, *reader.consume(10_000, 0)]
        arrived = time.time() * 1000
        scores = avro.decode([message.value() for message in messages if message.error() is None])
        times = scores.field("event_time").view("int64").to_numpy().astype(np.float64)
        due.append(times)
        took.append(arrived - times)
    nothing = np.zeros(0)
    np.savez(file, due_ms=np.concatenate([nothing, *due]), took_ms=np.concatenate([nothing, *took]))


if __name__ == "__main__":
    main(*sys.argv[1:])
