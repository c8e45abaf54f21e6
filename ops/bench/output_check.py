"""Checks that all contenders did the same job: their first scores of each partition are equal, field by field.

Scores may differ by the tolerance of a manifest: compiled trees round the logistic differently from ONNX Runtime.
"""

import math
import time
from typing import Any

from confluent_kafka import TopicPartition as KafkaTopicPartition

from ops.bench.backlog import PARTITIONS
from ops.bench.contender_args import ContenderArgs
from ops.bench.job import Avro
from surgetank.errors import SurgetankError
from surgetank.kafka import clients
from surgetank.serving.bundle import Tolerance
from surgetank.settings import KafkaSettings

ROWS = 100  # of each partition
SILENCE_SECONDS = 3.0
OWN = {"pipeline", "scored_at"}  # each run has its own name and its own time
TOLERANCE = Tolerance()

# By source partition and offset: the record key, then the fields of the score, without those specific to a run.
Scores = dict[tuple[int, int], tuple[Any, ...]]


def first_scores(kafka: KafkaSettings, job: ContenderArgs) -> Scores:
    """Read the scores of the first events of each partition that has scores.

    Raises SurgetankError if too few are found, or if one is duplicated or in another partition.
    """
    reader = clients.reader(kafka, fetch_wait_max_ms=50, auto_offset_reset="error", queued_min_messages=1000)
    avro = Avro("score")
    found: Scores = {}
    came = time.monotonic()
    try:
        reader.assign([KafkaTopicPartition(job.scores, number, 0) for number in range(PARTITIONS)])
        while len(found) < PARTITIONS * ROWS and time.monotonic() < came + SILENCE_SECONDS:
            messages = [m for m in reader.consume(2000, 0.2) if m.error() is None]
            if not messages:
                continue
            came = time.monotonic()
            for message, score in zip(messages, avro.decode([m.value() for m in messages]).to_pylist(), strict=True):
                place = score["source_partition"], score["source_offset"]
                if place[1] >= ROWS:
                    continue
                if place in found or message.partition() != place[0]:
                    raise SurgetankError(f"{job.name}: the score of {job.events}{place} is there twice, or misplaced")
                fields = (value for name, value in score.items() if name not in OWN)
                found[place] = (message.key(), *fields)
    finally:
        reader.close()
    if len(found) < ROWS:
        raise SurgetankError(f"{job.name}: {len(found)} of the first {PARTITIONS * ROWS} events have a score")
    return found


def check(samples: dict[str, Scores]) -> None:
    """Raise SurgetankError unless all have the same scores for the same events."""
    (first, expected), *others = samples.items()
    for other, scores in others:
        for place in expected.keys() & scores.keys():
            if not _same(scores[place], expected[place]):
                raise SurgetankError(
                    f"{first} and {other} did not do the same job: "
                    f"event {place} is {expected[place]} and {scores[place]}"
                )


def _same(fields: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    return len(fields) == len(expected) and all(
        math.isclose(one, other, rel_tol=TOLERANCE.relative, abs_tol=TOLERANCE.absolute)
        if isinstance(one, float) and isinstance(other, float)
        else one == other
        for one, other in zip(fields, expected, strict=True)
    )
