"""Tombstones of facts, and keys that no changelog takes: which records are left for the tables."""

from pathlib import Path

import numpy as np

from surgetank.codec import base
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.formats import deserializer_of
from surgetank.declaration import Events
from surgetank.processing.facts import decode_facts
from surgetank.processing.key_limit import KEY_TOO_LARGE, within_key_limit
from surgetank.records import RecordBatch, TopicPartition, large_binary
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, written

FACT = record(("k", "string"), ("a", "int"))


def batch(rows: list[tuple[bytes | None, bytes | None]]) -> RecordBatch:
    """Return records with these keys and values."""
    n = len(rows)
    return RecordBatch(
        (TopicPartition("facts", 0),),
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        large_binary([key for key, _ in rows]),
        large_binary([value for _, value in rows]),
    )


def test_a_tombstone_needs_a_key_and_no_bytes(tmp_path: Path) -> None:
    """An empty value is no null, and without a key there is no row to delete: these are dead letters."""
    good = written(FACT, {"k": "a", "a": 1})
    records = batch([(b"a", good), (b"a", None), (None, None), (b"a", b""), (b"", None), (b"b", good)])
    deserializer = AvroDeserializer(contracts_of(tmp_path, FACT), "event", value_bytes_max=BYTES_MAX)

    facts, dead = decode_facts(deserializer, records)

    assert facts.rows.tolist() == [0, 5]
    assert facts.deletes.tolist() == [1, 4]
    assert [(letter.row, letter.reason) for letter in dead] == [(2, base.NULL_VALUE), (3, base.EMPTY)]
    assert facts.columns["a"].to_pylist() == [1, 1]


def test_json_facts_have_tombstones_too(tmp_path: Path) -> None:
    """A null value deletes; the JSON text null is a value, and none that fits."""
    good = b'{"a":1,"k":"a"}'
    records = batch([(b"a", good), (b"a", None), (None, None), (b"a", b"null"), (b"b", good)])
    facts = Events("facts", schema="event", key="k", time="t", format="json")
    deserializer = deserializer_of(facts, contracts_of(tmp_path, FACT), value_bytes_max=BYTES_MAX)

    found, dead = decode_facts(deserializer, records)

    assert (found.rows.tolist(), found.deletes.tolist()) == ([0, 4], [1])
    assert [(letter.row, letter.reason) for letter in dead] == [(2, base.NULL_VALUE), (3, base.UNDECODABLE)]


def test_large_keys_are_withheld_from_the_tables(tmp_path: Path) -> None:
    """Those of events and of tombstones, one byte above the limit; null keys and dead letters are left alone."""
    good = [written(FACT, {"k": "a", "a": number}) for number in range(4)]
    records = batch(
        [
            (b"kkkk", good[0]),
            (b"kkkkk", good[1]),
            (b"kkkkk", None),
            (None, good[2]),
            (b"k" * 9, b"bad"),
            (b"k", good[3]),
        ]
    )
    deserializer = AvroDeserializer(contracts_of(tmp_path, FACT), "event", value_bytes_max=BYTES_MAX)
    facts, _ = decode_facts(deserializer, records)

    kept, dead = within_key_limit(facts, 4)

    assert kept.rows.tolist() == [0, 3, 5]
    assert kept.columns["a"].to_pylist() == [0, 2, 3]
    assert kept.deletes.tolist() == []
    assert [(letter.row, letter.reason) for letter in dead] == [(1, KEY_TOO_LARGE), (2, KEY_TOO_LARGE)]
    same, none = within_key_limit(facts, 9)
    assert same is facts
    assert none == ()
