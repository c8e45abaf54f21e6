"""The contract of Deserializer and Serializer, satisfied by every wire format. A new format adds a parameter."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer, Serializer, Unencodable
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.json.serializer import JsonSerializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.errors import SchemaError
from surgetank.records import Step
from tests.unit.codec.avro_samples import BYTES_MAX, MILLIS, contracts_of, record, records_of

SCHEMA = record(("name", "string"), ("count", "int"), ("amount", ["null", "double"]), ("at", MILLIS))
Rows = list[dict[str, object]]


class Format(NamedTuple):
    """Both directions of one wire format, for SCHEMA, and rows that it can encode."""

    deserializer: Deserializer
    serializer: Serializer
    rows: st.SearchStrategy[Rows]


def avro(contracts: SchemaRepository) -> Format:
    """Return Avro in the Confluent wire format."""
    deserializer = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
    return Format(deserializer, AvroSerializer(contracts, "event"), rows_of(st.floats(allow_nan=False)))


def json(contracts: SchemaRepository) -> Format:
    """Return JSON, which has no infinite numbers."""
    deserializer = JsonDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return Format(deserializer, JsonSerializer(contracts, "event"), rows_of(finite))


def rows_of(amounts: st.SearchStrategy[float]) -> st.SearchStrategy[Rows]:
    """Return rows of SCHEMA."""
    return st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text(max_size=20),
                "count": st.integers(-(2**31), 2**31 - 1),
                "amount": st.none() | amounts,
                "at": st.integers(0, 4_000_000_000_000).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC)),
            }
        ),
        max_size=20,
    )


@pytest.fixture(scope="module", params=[avro, json])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Format:
    """Return each format in turn."""
    make: Callable[[SchemaRepository], Format] = request.param
    folder: Path = tmp_path_factory.mktemp("schemas")
    return make(contracts_of(folder, SCHEMA))


def columns_of(codec: Format, rows: Rows) -> pa.RecordBatch:
    """Return the rows in the columns of the serializer."""
    return pa.RecordBatch.from_pylist(rows, schema=codec.serializer.schema)


@given(data=st.data())
def test_serialized_columns_are_deserialized_unchanged(codec: Format, data: st.DataObject) -> None:
    """All rows, in order, in the columns of the schema; both directions have the same columns."""
    rows = data.draw(codec.rows)
    columns = columns_of(codec, rows)
    values = codec.serializer.serialize(columns)
    assert (len(values), values.null_count) == (len(rows), 0)

    batch, dead = codec.deserializer.deserialize(records_of(values.to_pylist()))

    assert dead == ()
    assert batch.columns.schema == codec.deserializer.schema == codec.serializer.schema
    assert batch.rows.tolist() == list(range(len(rows)))
    assert batch.columns == columns


@given(others=st.lists(st.none() | st.binary(max_size=40), min_size=1, max_size=10), data=st.data())
def test_every_record_is_an_event_or_a_dead_letter_whatever_its_bytes(
    codec: Format, others: list[bytes | None], data: st.DataObject
) -> None:
    """Invalid values among valid ones do not change these; dead letters are in order and name their record."""
    rows = data.draw(codec.rows)
    columns = columns_of(codec, rows)
    values = codec.serializer.serialize(columns).to_pylist()
    mixed = data.draw(st.permutations([*enumerate(values), *((None, other) for other in others)]))

    batch, dead = codec.deserializer.deserialize(records_of([value for _, value in mixed]))

    dead_rows = [letter.row for letter in dead]
    assert dead_rows == sorted(dead_rows)
    assert sorted([*batch.rows.tolist(), *dead_rows]) == list(range(len(mixed)))
    assert all(letter.stage is Step.DECODE and letter.message for letter in dead)
    found = dict(zip(batch.rows.tolist(), batch.columns.to_pylist(), strict=True))
    originals = columns.to_pylist()
    assert all(found[at] == originals[row] for at, (row, _) in enumerate(mixed) if row is not None)


def test_the_serializer_selects_and_casts_columns_by_name(codec: Format) -> None:
    """In any order, with other columns between them."""
    row = {"name": "a", "count": 1, "amount": None, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    columns = columns_of(codec, [row])
    shuffled = pa.RecordBatch.from_pydict(
        {"other": pa.array([0]), "count": pa.array([1], pa.int64())}
        | {name: columns[name] for name in ("at", "amount", "name")}
    )
    assert codec.serializer.serialize(shuffled) == codec.serializer.serialize(columns)


def test_a_missing_column_is_a_schema_error(codec: Format) -> None:
    """The message names the column."""
    with pytest.raises(SchemaError, match="count"):
        codec.serializer.serialize(pa.record_batch({"name": pa.array(["x"])}))


def test_rows_that_cannot_be_encoded_are_named_and_the_others_encoded(codec: Format) -> None:
    """A null in a field that is not nullable."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[dict[str, object]] = [{"name": name, "count": 1, "amount": 0.5, "at": at} for name in ("a", None, "c")]
    good = codec.serializer.serialize(columns_of(codec, [rows[0], rows[2]])).to_pylist()

    with pytest.raises(Unencodable) as refused:
        codec.serializer.serialize(columns_of(codec, rows))

    assert list(refused.value.why) == [1]
    assert refused.value.values == [good[0], None, good[1]]
