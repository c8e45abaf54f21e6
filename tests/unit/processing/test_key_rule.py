"""surgetank.processing.key_rule: records whose key differs from the key field are counted, refused or sent again."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgetank import Events, Field, Pipeline, Scores
from surgetank.clock import SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import DifferingKeys
from surgetank.migration.partitioners import PARTITIONERS, murmur2
from surgetank.processing.dead_letter import NAMES
from surgetank.processing.key_comparison import KEY_DIFFERS
from surgetank.processing.key_rule import KeyRule, Rekeying
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.rekeying import REKEYED, RekeyedFrom, rekeyed_from, was_rekeyed
from surgetank.processing.score_records import ScoreWriter
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    BatchOutput,
    Headers,
    OutputRecords,
    PartitionRecords,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)
from surgetank.telemetry.metrics import Metrics
from tests.support.function_model import scorer_of
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, written

TIME = {"type": "long", "logicalType": "timestamp-millis"}
EVENT = record(("event_id", "string"), ("k", ["null", "string"]), ("t", TIME), ("x", "double"))
PARTITIONS = 8
ARRIVED = 1_700_000_000_000


class Processed:
    """The output of a batch, and what was counted."""

    def __init__(self, folder: Path, how: DifferingKeys, records: list[tuple[Any, ...]], **options: Any) -> None:
        self.metrics, clock = Metrics(), SystemClock()
        events = Events(
            "events",
            schema="event",
            key="k",
            time="t",
            partitions=2 * PARTITIONS,  # the topic's own number counts
            differing_keys=how,
            partitioner=options.get("partitioner", "murmur2"),
        )
        pipeline = Pipeline(name="keyed", events=events, features=(Field("x"),), model="m", scores=Scores("scores"))
        warnings = RecordWarnings(clock)
        limit = RecordBytes(options.get("bytes_max", BYTES_MAX), 0)
        rekeying = Rekeying("keyed", PARTITIONERS[events.partitioner], limit, PARTITIONS) if how == "rekey" else None
        rule = KeyRule(
            events, rekeying=rekeying, warn=options.get("warn", True), metrics=self.metrics, warnings=warnings
        )
        processor = BatchProcessor(
            pipeline,
            events=AvroDeserializer(contracts_of(folder, EVENT), "event", value_bytes_max=BYTES_MAX),
            facts={},
            stateful=None,
            feature_log=None,
            scorer=scorer_of(lambda matrix: matrix[:, 0].astype(np.float64), clock),
            scores=ScoreWriter(pipeline, AvroSerializer(project_schemas(), "score"), bytes_max=BYTES_MAX),
            dead_letter_bytes_max=RecordBytes(BYTES_MAX, 0),
            key_rules={"events": rule},
            key_bytes_max=None,
            clock=clock,
            metrics=self.metrics,
            warnings=warnings,
            on_scored=lambda _, __: None,
        )
        headers: list[Headers] = [each[2] if len(each) > 2 else () for each in records]
        rows = PartitionRecords(
            TopicPartition("events", 3),
            70 + len(records),
            np.arange(70, 70 + len(records)),
            ARRIVED + np.arange(len(records)),
            large_binary([each[0] for each in records]),
            large_binary([each[1] for each in records]),
            lambda row: headers[row],
        )
        self.output: BatchOutput = processor.process([TaskRecords(TaskId("keyed", 3), 1, (rows,))])

    def sent(self, topic: str) -> OutputRecords | None:
        """Return what goes to a topic."""
        return next((each for each in self.output.outgoing if each.topic == topic), None)

    def dead(self) -> list[tuple[int, str]]:
        """Return the rows and the messages of the dead letters, which all have the reason of keys."""
        assert {letter.reason for letter in self.output.dead} <= {KEY_DIFFERS}
        return [(letter.row, letter.message) for letter in self.output.dead]

    def counted(self) -> dict[str, float]:
        """Return the number of mismatches by kind."""
        lines = [line for line in self.metrics.expose()[0].decode().splitlines() if "key_mismatches_total{" in line]
        return {line.split('kind="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def event(key: str | None) -> bytes:
    """Return the value of an event with this key field."""
    return written(EVENT, {"event_id": "e", "k": key, "t": ARRIVED, "x": 1.0})


MIXED = [(b"a", event("a")), (b"b", event("a")), (None, event("a")), (b"c", event(None)), (None, event(None))]


def test_a_record_key_differs_from_the_key_field(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All are scored as before, counted, and named in one line with a position and without a key."""
    with caplog.at_level(logging.WARNING):
        found = Processed(tmp_path, "count", MIXED)

    assert (found.output.scored, found.dead(), found.output.rekeyed) == (5, [], {})
    assert found.counted() == {"missing": 1, "different": 2}
    (line,) = (each.message for each in caplog.records)
    assert line.startswith("3 records of events with a key that does not repeat the field 'k'")
    assert line.endswith("the last at events[3] offset 73 has another key")


def test_a_pipeline_without_state_has_differing_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They do no harm there: counted, and not in the log."""
    with caplog.at_level(logging.WARNING):
        assert Processed(tmp_path, "count", MIXED, warn=False).counted() == {"missing": 1, "different": 2}
    assert not caplog.records


def test_differing_keys_are_refused(tmp_path: Path) -> None:
    """Each is a dead letter, also one without a key; a null field without a key is right."""
    found = Processed(tmp_path, "refuse", MIXED)

    assert found.output.scored == 2
    assert found.dead() == [
        (1, "the record has another key than that of its field 'k'"),
        (2, "the record has no key; the right one is in its field 'k'"),
        (3, "the record has another key than that of its field 'k'"),
    ]
    assert found.counted() == {"missing": 1, "different": 2}
    assert found.sent("events") is None


def test_differing_keys_are_re_keyed(tmp_path: Path) -> None:
    """The value is the same, the partition that of the key; each record has one outcome."""
    trace: Headers = [("trace", b"1"), ("trace", None)]
    records = [(b"a", event("a")), (b"z", event("b"), trace), (None, event("c")), (b"z", event("b"))]

    found = Processed(tmp_path, "rekey", records)

    copies = found.sent("events")
    assert copies is not None
    assert copies.keys.to_pylist() == [b"b", b"c", b"b"]
    assert copies.partitions.tolist() == [murmur2(key, PARTITIONS) for key in (b"b", b"c", b"b")]
    assert copies.values.to_pylist() == [records[row][1] for row in (1, 2, 3)]
    assert copies.headers == [
        [*trace, (REKEYED, b"keyed 3 71")],
        [(REKEYED, b"keyed 3 72")],
        [(REKEYED, b"keyed 3 73")],
    ]
    assert (found.output.rows, found.output.scored, found.output.dead) == (4, 1, ())
    assert found.output.rekeyed == {"events": 3}
    assert found.output.arrived_ms.tolist() == [ARRIVED], "a latency is that of a score"


def test_the_declared_partitioner_is_used(tmp_path: Path) -> None:
    """That of librdkafka."""
    keys = [f"k{number}" for number in range(20)]
    copies = Processed(tmp_path, "rekey", [(b"z", event(key)) for key in keys], partitioner="crc32").sent("events")
    assert copies is not None
    expected = [PARTITIONERS["crc32"](key.encode(), PARTITIONS) for key in keys]
    assert copies.partitions.tolist() == expected


def test_a_copy_is_scored_where_it_arrives(tmp_path: Path) -> None:
    """Its key is right: nothing is counted."""
    found = Processed(tmp_path, "rekey", [(b"b", event("b"), [(REKEYED, b"keyed 3 71")])])
    assert (found.output.scored, found.counted(), found.output.rekeyed) == (1, {}, {})


def test_two_pipelines_re_key_by_different_fields(tmp_path: Path) -> None:
    """What another one has sent again is not sent in a circle."""
    found = Processed(tmp_path, "rekey", [(b"z", event("b"), [(REKEYED, b"another 1 5")])])
    assert found.sent("events") is None
    ((_, message),) = found.dead()
    assert message.endswith("it was sent again with another key before")


def test_a_null_key_field_cannot_be_re_keyed(tmp_path: Path) -> None:
    """There is no right key; the rest of the batch goes on."""
    found = Processed(tmp_path, "rekey", MIXED)
    assert [row for row, _ in found.dead()] == [3]
    assert (found.output.scored, found.output.rekeyed) == (2, {"events": 2})


def test_a_re_keyed_record_is_too_large_for_its_topic(tmp_path: Path) -> None:
    """It fitted with a shorter key and without the mark."""
    value = event("b" * 100)
    found = Processed(tmp_path, "rekey", [(b"z", value)], bytes_max=len(value) + 100)
    assert found.sent("events") is None
    ((_, message),) = found.dead()
    assert "too large for its topic" in message


def test_a_header_whose_name_is_not_text_is_left_out(tmp_path: Path) -> None:
    """Most clients cannot read it."""
    odd = b"\xff".decode(errors="surrogateescape")
    copies = Processed(tmp_path, "rekey", [(b"z", event("b"), [(odd, b"1"), ("trace", b"2")])]).sent("events")
    assert copies is not None
    assert copies.headers == [[("trace", b"2"), (REKEYED, b"keyed 3 70")]]


def test_the_mark_of_a_replayed_letter_is_no_copy() -> None:
    """The letter has the headers of the copy that failed, then its own: its event is not a copy of the original."""
    mark = (REKEYED, RekeyedFrom("keyed", 3, 71).dump())
    letter: Headers = [mark, *((name, b"") for name in NAMES)]

    assert rekeyed_from([("trace", b"1"), mark]) == RekeyedFrom("keyed", 3, 71)
    assert rekeyed_from(letter) is None
    assert rekeyed_from([*letter, (REKEYED, b"keyed 3 99")]) == RekeyedFrom("keyed", 3, 99)
    assert was_rekeyed(letter)
    for value in (None, b"", b"\xff", b"keyed 3", b"keyed x 1"):
        assert rekeyed_from([(REKEYED, value)]) is None
    assert not was_rekeyed([("trace", b"1")])
