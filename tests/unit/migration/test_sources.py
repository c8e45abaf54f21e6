"""The records that a rebuild and the check of states read again are those that updated state."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import pytest

from surgetank import Events, Pipeline, Scores, Table, seconds
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.declaration import DifferingKeys
from surgetank.drills import state_check
from surgetank.migration import sources
from surgetank.migration.sources import EventSources
from surgetank.processing.largest_key import largest_key
from surgetank.records import RecordBatch, TopicPartition, large_binary
from surgetank.settings import KafkaSettings, StateSettings
from tests.unit.codec.avro_samples import BYTES_MAX, MILLIS, contracts_of, record, written

EVENT = record(("t", MILLIS), ("a", "double"))
CARDS = Table("cards", ttl=seconds(60))
PIPELINE = Pipeline(
    name="payments",
    events=Events("events", schema="event", key="key", time="t"),
    features=(CARDS.last("a"),),
    model="m",
    scores=Scores("scores"),
)
SOURCE = TopicPartition("events", 0)
KEYS = [b"abcd", b"abcde", b"ab"]


class Reader:
    """Stands in for TopicReader: the topic has one event of each key."""

    value = written(EVENT, {"t": 1_000, "a": 1.0})

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def catch_up(self, _ends: object = None) -> Iterator[RecordBatch]:
        """Yield the events."""
        n = len(KEYS)
        values = [self.value] * n
        zeros = np.zeros(n, dtype=np.int64)
        yield RecordBatch(
            (SOURCE,), zeros.astype(np.int32), np.arange(n), zeros + 1_000, large_binary(KEYS), large_binary(values)
        )


def sources_of(*, key_bytes_max: int) -> EventSources:
    """Return the sources of PIPELINE, all of whose records are committed."""
    return EventSources(
        KafkaSettings(),
        PIPELINE,
        committed={SOURCE: len(KEYS)},
        bounds={SOURCE: (0, len(KEYS))},
        partitions=1,
        growth=None,
        value_bytes_max=BYTES_MAX,
        key_bytes_max=key_bytes_max,
    )


def test_a_rebuild_omits_records_whose_key_was_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They became dead letters, and a row of such a key would be refused by the changelog."""
    monkeypatch.setattr(sources, "TopicReader", Reader)
    monkeypatch.setattr(sources, "project_schemas", lambda: contracts_of(tmp_path, EVENT))
    read = sources_of(key_bytes_max=4)

    ((batch, _),) = read.events(PIPELINE.events, 0, lambda _: None)

    assert batch.rows.tolist() == [0, 2]
    assert len(batch.columns) == 2


def test_a_rebuild_omits_records_that_were_refused_or_sent_again_for_their_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They updated no row; with the default rule they updated that of their record key."""
    keyed = record(("t", MILLIS), ("a", "double"), ("key", "string"))
    monkeypatch.setattr(Reader, "value", written(keyed, {"t": 1_000, "a": 1.0, "key": "ab"}))
    monkeypatch.setattr(sources, "TopicReader", Reader)
    monkeypatch.setattr(sources, "project_schemas", lambda: contracts_of(tmp_path, keyed))
    read = sources_of(key_bytes_max=9)
    rows = {}
    for how in get_args(DifferingKeys):
        ((batch, _),) = read.events(replace(PIPELINE.events, differing_keys=how), 0, lambda _: None)
        rows[how] = batch.rows.tolist()
    assert rows == {"count": [0, 1, 2], "refuse": [2], "rekey": [2]}


def test_a_rebuild_reads_events_in_their_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Avro values of events that are declared as JSON became dead letters and updated nothing."""
    monkeypatch.setattr(sources, "TopicReader", Reader)
    monkeypatch.setattr(sources, "project_schemas", lambda: contracts_of(tmp_path, EVENT))
    read = sources_of(key_bytes_max=9)

    def rows(events: Events) -> list[int]:
        ((batch, _),) = read.events(events, 0, lambda _: None)
        found: list[int] = batch.rows.tolist()
        return found

    as_json = replace(PIPELINE.events, format="json")
    assert (rows(PIPELINE.events), rows(as_json)) == ([0, 1, 2], [])
    monkeypatch.setattr(Reader, "value", b'{"a":1,"t":1000}')
    assert (rows(PIPELINE.events), rows(as_json)) == ([], [0, 1, 2])


def test_states_are_not_expected_of_keys_that_were_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their events became dead letters, so that their rows are not missing."""
    deserializer = AvroDeserializer(contracts_of(tmp_path, EVENT), "event", value_bytes_max=BYTES_MAX)
    monkeypatch.setattr(state_check, "TopicReader", Reader)
    monkeypatch.setattr(state_check, "event_decoder", lambda _: lambda records: deserializer.deserialize(records)[0])
    placement = state_check._RowPartitions(None, "events", 1)

    read = state_check._SourceEvents.read(
        KafkaSettings(), PIPELINE.events, StateSettings(), placement, facts=False, key_bytes_max=4
    )

    assert read.keys == [(0, b"abcd"), (0, b"ab")]


def test_the_largest_key_leaves_room_for_the_largest_row() -> None:
    """In the changelog with the least room; all tables have the same limit."""
    room = dict.fromkeys(PIPELINE.changelogs.values(), 1_000)
    first, last = [{**room, topic: 900} for topic in (min(room), max(room))]

    assert largest_key(PIPELINE, room) > max(largest_key(PIPELINE, each) for each in (first, last)) > 0
