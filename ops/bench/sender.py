"""Sends events at an intended rate, whether they are scored or not. Prints its results as JSON.

Everything is encoded before the first event is due. The time of an event is its intended send time, which its score
repeats: a reader of scores can compute the latency from the score alone.
"""

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ops.bench.job import Avro
from ops.bench.jobs import named
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

TICK_SECONDS = 0.001
POOL = 65_536
LEAD_SECONDS = 1.0
ENCODING_SECONDS = 4e-6  # per event, at most: times are encoded first, and no event may be due before encoding ends

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """``rate`` events a second for ``seconds``, from ``start`` on (seconds since the epoch)."""

    start: float
    rate: float
    seconds: float

    @property
    def count(self) -> int:
        """The number of events."""
        return int(self.rate * self.seconds)

    def due_ms(self) -> Int64s:
        """Return the due time of each event in whole milliseconds since the epoch, rounded down: int64 [count]."""
        milliseconds: Int64s = ((self.start + np.arange(self.count) / self.rate) * 1000).astype(np.int64)
        return milliseconds

    def due_by(self, now: float) -> int:
        """Return the number of events that are due at ``now``."""
        return min(self.count, max(0, int((now - self.start) * self.rate) + 1)) if now >= self.start else 0


def main(bootstrap: str, topic: str, rate: str, seconds: str, job: str) -> None:
    """Encode, then send."""
    work = named(job)
    avro, (columns, keys) = Avro(work.schema), work.pool(POOL)
    encoding = ENCODING_SECONDS * float(rate) * float(seconds)
    schedule = Schedule(time.time() + LEAD_SECONDS + encoding, float(rate), float(seconds))
    due = schedule.due_ms()
    values: list[bytes] = []
    for first in range(0, len(due), POOL):
        times = due[first : first + POOL]
        rows = [
            pa.array(times).view(pa.timestamp("ms", tz="UTC")) if name == work.time else column.slice(0, len(times))
            for name, column in zip(avro.names, columns, strict=True)
        ]
        values += avro.encode(rows)
    producer = clients.producer(
        KafkaSettings(bootstrap=bootstrap),
        partitioner="murmur2_random",
        linger_ms=1,
        compression_type="none",
        delivery_report_only_error=True,
        queue_buffering_max_messages=1_000_000,
        queue_buffering_max_kbytes=262_144,
    )
    stamps = due.tolist()
    produce = producer.produce
    sent, late = 0, 0.0
    while sent < len(values):
        now = time.time()
        upto = schedule.due_by(now)
        if upto > sent:
            late = max(late, now - stamps[sent] / 1000)
            for i in range(sent, upto):
                while True:
                    try:
                        produce(topic, values[i], keys[i % POOL], -1, None, stamps[i])
                        break
                    except BufferError:
                        producer.poll(0.005)
            sent = upto
            producer.poll(0)
        time.sleep(TICK_SECONDS)
    last = time.time()
    left = producer.flush(10)
    report = {
        "start": schedule.start,
        "sent": sent - left,
        "intended_rate": schedule.rate,
        "achieved_rate": round(sent / max(last - schedule.start, schedule.seconds), 1),
        "late_ms": round(late * 1000, 1),
        "cpu_seconds": time.process_time(),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
