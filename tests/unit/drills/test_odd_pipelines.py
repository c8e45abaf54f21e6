"""Odd pipelines and records through all steps of a batch, without Kafka, judged as the drill judges them."""

import io
from collections.abc import Iterable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.odd.declaration import OddPipeline, odd_pipeline
from surgetank.drills.odd.judge import Judge, Judgement
from surgetank.drills.odd.project import INPUT, OUTPUT, declared, write_project
from surgetank.drills.odd.reading import Position, ReadRecord
from surgetank.drills.odd.records import OddRecord, odd_records
from surgetank.drills.odd.refusals import set_up
from surgetank.kafka.message_headers import UNREADABLE
from surgetank.processing.dead_letter import REASON
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    BatchOutput,
    Headers,
    PartitionRecords,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.wire_parts import deserializers

DEAD_LETTER_BYTES_MAX = 100_000_000
FRAME_BYTES = 256
SCORE: Any = fastavro.parse_schema(project_schemas().schema("score"), named_schemas={})


def processed(odd: OddPipeline, folder: Path, records: list[OddRecord]) -> BatchOutput:
    """Return the output for records of one partition, offsets from 0, in one batch."""
    pipeline, schemas, clock = declared(odd.source), project_schemas(folder / "schemas"), SystemClock()
    events, facts = deserializers(pipeline, schemas, odd.value_bytes_max)
    model = OnnxModel(
        odd.model.content, name="odd", version="1", input=INPUT, output=OUTPUT, features=pipeline.spec.names
    )
    processor = BatchProcessor(
        pipeline,
        events=events,
        facts=facts,
        stateful=None,
        feature_log=None,
        scorer=Scorer(SingleModelRouter(model), clock),
        scores=ScoreWriter(pipeline, AvroSerializer(schemas, "score"), bytes_max=odd.score_bytes_max - FRAME_BYTES),
        dead_letter_bytes_max=RecordBytes(DEAD_LETTER_BYTES_MAX, 0),
        key_rules={},
        key_bytes_max=None,
        clock=clock,
        metrics=Metrics(),
        warnings=RecordWarnings(clock),
        on_scored=lambda _, __: None,
    )
    n = len(records)
    headers = [[(name.decode(errors="surrogateescape"), value) for name, value in record.headers] for record in records]
    rows = PartitionRecords(
        TopicPartition(odd.events_topic, 0),
        n,
        np.arange(n),
        np.array([record.time_ms for record in records], dtype=np.int64),
        large_binary([record.key for record in records]),
        large_binary([record.value for record in records]),
        lambda row: headers[row],
    )
    return processor.process([TaskRecords(TaskId(odd.name, 0), 1, (rows,))])


def as_read(headers: tuple[tuple[bytes, bytes | None], ...]) -> Headers:
    """Return headers as the ordinary client returns them."""
    try:
        return [(name.decode(), value) for name, value in headers]
    except UnicodeDecodeError:
        return UNREADABLE


def judged(
    odd: OddPipeline, records: list[OddRecord], scores: Iterable[ReadRecord], dead_letters: Iterable[ReadRecord]
) -> Judgement:
    """Return what the drill thinks of outputs."""
    judge = Judge(odd, DEAD_LETTER_BYTES_MAX)
    judge.take_scores(scores)
    judge.take_dead_letters(dead_letters)
    sent = [
        ReadRecord(
            Position(odd.events_topic, 0, offset),
            record.key,
            record.value,
            as_read(record.headers),
        )
        for offset, record in enumerate(records)
    ]
    assert judge.judge(sent) == len(records)
    return judge.judgement


def outputs(output: BatchOutput, topic: str) -> list[ReadRecord]:
    """Return the records of an output topic."""
    return [
        ReadRecord(Position(topic, 0, row), key, value, out.headers[row] if out.headers else ())
        for out in output.outgoing
        if out.topic == topic
        for row, (key, value) in enumerate(zip(out.keys.to_pylist(), out.values.to_pylist(), strict=True))
    ]


def stateless(seed: int) -> OddPipeline:
    """Return the first pipeline of a seed that runs and keeps no state."""
    every = (odd_pipeline(seed, number) for number in range(1_000))
    return next(each for each in every if not each.keeps_state and not set_up(each, seed)[1])


def run(odd: OddPipeline, seed: int, count: int) -> tuple[list[OddRecord], list[ReadRecord], list[ReadRecord]]:
    """Return records of a pipeline, and the scores and dead letters for them."""
    records = list(odd_records(odd, seed, count, 8 << 20))
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, set_up(odd, seed)[0].files)
        output = processed(odd, folder, records)
    return records, outputs(output, f"{odd.name}.scores"), outputs(output, f"{odd.name}.dead-letters")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_each_record_of_a_pipeline_without_state_ends_as_the_rules_say(seed: int) -> None:
    """Scores, dead letters and their reasons are the expected ones, to the text of ids and the value of scores."""
    odd = stateless(seed)
    records, scores, dead_letters = run(odd, seed, 400)

    found = judged(odd, records, scores, dead_letters)

    assert not found.wrong, (seed, odd.number, found.mismatches)
    assert found.outcomes.total() == len(records)


def test_the_judge_sees_what_is_wrong() -> None:
    """Outputs that are missing, repeated, altered or elsewhere are mismatches, and so is another reason."""
    odd = stateless(1)
    records, scores, dead_letters = run(odd, 1, 300)
    first, last = scores[0], scores[-1]
    letter = next(each for each in dead_letters if each.value)
    place = dead_letters.index(letter)

    def with_letter(changed: ReadRecord) -> list[ReadRecord]:
        return [*dead_letters[:place], changed, *dead_letters[place + 1 :]]

    def words(scores: list[ReadRecord], dead_letters: list[ReadRecord]) -> str:
        return " ".join(judged(odd, records, scores, dead_letters).mismatches)

    frame, body = (first.value or b"")[:5], (first.value or b"")[5:]
    reasons = [(name, b"null_value" if name == REASON else value) for name, value in letter.headers]
    assert words(scores, dead_letters) == ""
    assert "lost" in words(scores[1:], dead_letters)
    assert "lost" in words(scores, dead_letters[1:])
    assert "twice" in words([*scores, last], dead_letters)
    assert "out of order" in words([*scores[1:], first], dead_letters)
    assert "wrong outcome" in words(scores, with_letter(letter._replace(headers=reasons)))
    assert "not the original record" in words(scores, with_letter(letter._replace(value=b"another")))
    assert "in partition 1" in words([first._replace(position=Position("s", 1, 0)), *scores[1:]], dead_letters)
    assert "the key of the record" in words([first._replace(key=b"another"), *scores[1:]], dead_letters)
    for unreadable in (
        b"\1" + frame[1:] + body,
        frame[:4] + b"\0" + body,
        frame + body[:-1],
        frame + body + b"\0",
        b"",
        None,
    ):
        assert "unreadable score" in words([first._replace(value=unreadable), *scores[1:]], dead_letters)
    assert "wrong content" in words([first._replace(value=of_another_score(first.value)), *scores[1:]], dead_letters)


def of_another_score(value: bytes | None) -> bytes:
    """Return a score record with a score that no rounding explains."""
    out = io.BytesIO((value or b"")[:5])
    out.seek(5)
    score: Any = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), SCORE, None)
    fastavro.schemaless_writer(out, SCORE, score | {"score": 1e300})
    return out.getvalue()


@pytest.mark.parametrize(
    ("bytes_max", "kept", "words"),
    [
        (20_000, ("key", "value", "headers"), ""),
        (20_000, ("key", "headers"), "would have fitted"),
        (15_000, ("key", "headers"), ""),
        (15_000, ("key",), "lacks key or headers"),
        (15_000, ("headers",), "lacks key or headers"),
        (6_000, ("key",), ""),
        (6_000, (), "lacks a key"),
        (2_000, (), ""),
    ],
)
def test_a_shortened_dead_letter_has_what_fits(bytes_max: int, kept: tuple[str, ...], words: str) -> None:
    """The value is left out first, then the headers, then the key: here of 8,000, 6,000 and 3,000 random bytes."""
    odd = next(each for each in (odd_pipeline(1, n) for n in range(100)) if each.value_bytes_max > 8_000)
    random = Random(1)
    headers: Headers = [("h", random.randbytes(6_000))]
    record = ReadRecord(
        Position(odd.events_topic, 0, 0), random.randbytes(3_000), b"\1" + random.randbytes(7_999), headers
    )
    judgement = judged_letter(odd, bytes_max, record, kept)

    assert bool(judgement.wrong) is bool(words)
    assert words in " ".join(judgement.mismatches)


@pytest.mark.parametrize(
    ("kept", "words"),
    [(("key", "value", "headers"), ""), (("key", "headers"), "would have fitted"), ((), "would have fitted")],
)
def test_a_dead_letter_that_is_compressed_well_is_whole(kept: tuple[str, ...], words: str) -> None:
    """Of 17,000 bytes hardly anything is left when they are compressed."""
    odd = next(each for each in (odd_pipeline(1, n) for n in range(100)) if each.value_bytes_max > 8_000)
    headers: Headers = [("h", bytes(6_000))]
    record = ReadRecord(Position(odd.events_topic, 0, 0), b"k" * 3_000, b"\1" * 8_000, headers)

    judgement = judged_letter(odd, 3_000, record, kept)

    assert bool(judgement.wrong) is bool(words)
    assert words in " ".join(judgement.mismatches)


def judged_letter(odd: OddPipeline, bytes_max: int, record: ReadRecord, kept: tuple[str, ...]) -> Judgement:
    """Return what the drill thinks of a dead letter that has kept these parts of an event."""
    headers = record.headers
    stage, reason = "decode", "not_framed"
    texts = (odd.events_topic, "0", "0", stage, reason, "message", "time", "0", odd.name)
    names = ("topic", "partition", "offset", "stage", "reason", "message", "time", "arrived", "pipeline")
    stamps = [(f"surgetank.{name}", text.encode()) for name, text in zip(names, texts, strict=True)]
    letter = ReadRecord(
        Position("letters", 0, 0),
        record.key if "key" in kept else None,
        record.value if "value" in kept else None,
        [
            *(headers if "headers" in kept else ()),
            *(() if "value" in kept else [("surgetank.oversize", b"8000")]),
            *stamps,
        ],
    )
    judge = Judge(odd, bytes_max)
    judge.take_dead_letters([letter])
    judge.judge([record])
    return judge.judgement
