"""Training data from change events: nested tables and files, decimals, and times in whole numbers."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surgetank import DayOfWeek, Events, Field, Pipeline, Ratio, Scores, Table, hours
from surgetank.features.spec import FeatureSpec
from surgetank.offline.training import training_matrix

ROW = pa.struct(
    [
        ("id", pa.string()),
        ("card", pa.string()),
        ("amount", pa.decimal128(20, 2)),
        ("day", pa.date32()),
        ("at", pa.int64()),
    ]
)
NESTED = Events("rows", schema="row", id="after.id", key="after.card", time="after.at", time_units={"after.at": "us"})
FLAT = Events("rows", schema="row", id="id", key="card", time="at")


def pipeline(events: Events, prefix: str) -> Pipeline:
    """Return a pipeline whose fields have this prefix."""
    cards = Table("cards")
    amount, day = f"{prefix}amount", f"{prefix}day"
    return Pipeline(
        name="t",
        events=events,
        features=(
            Field(amount),
            DayOfWeek(events.time),
            Ratio(amount, cards.mean(amount, window=hours(6))),
            cards.max(day, window=hours(6)),
            cards.last(amount),
        ),
        model="m",
        scores=Scores("t.scores"),
    )


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows of three cards, a minute apart."""
    return [
        {
            "id": f"e{number}",
            "card": f"c{number % 3}",
            "amount": None if number % 7 == 3 else Decimal(f"{number * 37 % 100}.{number % 100:02d}"),
            "day": number % 5,
            "at": 1_700_000_000_000_000 + 60_000_000 * number,
        }
        for number in range(count)
    ]


def test_nested_events_give_the_matrix_of_flat_ones(tmp_path: Path) -> None:
    """Tables and files with records, decimals and whole numbers are read as doubles and timestamps would be."""
    plain = pa.Table.from_pylist(rows(50), pa.schema(list(ROW)))
    flat = plain.set_column(2, "amount", plain["amount"].cast(pa.float64()))
    flat = flat.set_column(3, "day", plain["day"].cast(pa.int32())).set_column(
        4, "at", plain["at"].cast(pa.timestamp("us", "UTC"))
    )
    nested = pa.table({"after": pa.array(rows(50), ROW), "op": ["c"] * 50})
    expected = training_matrix(pipeline(FLAT, ""), {"rows": flat}).matrix

    np.testing.assert_array_equal(training_matrix(pipeline(NESTED, "after."), {"rows": nested}).matrix, expected)
    pq.write_table(nested, tmp_path / "rows.parquet")
    data = training_matrix(pipeline(NESTED, "after."), tmp_path, columns=["op"])
    np.testing.assert_array_equal(data.matrix, expected)
    assert data.events["op"].to_pylist() == ["c"] * 50
    assert np.isfinite(expected).any(axis=0).all()


def test_a_declared_unit_is_in_the_fingerprint_of_the_features_that_read_it() -> None:
    """A model of one unit does not fit another, which gives other hours and days; no other feature changes."""
    features = (Field("x"), DayOfWeek("at"))
    millis, micros, none = (
        FeatureSpec(features, {"at": "ms"}),
        FeatureSpec(features, {"at": "us"}),
        FeatureSpec(features),
    )
    assert len({each.fingerprint() for each in (millis, micros, none)}) == 3
    assert none.declaration() == [each.declaration() for each in features]
    assert micros.declaration() == [features[0].declaration(), features[1].declaration() | {"time_units": {"at": "us"}}]
    assert FeatureSpec(features, {"other": "us"}).fingerprint() == none.fingerprint()
    facts = Table("t", facts=NESTED).fed_by
    assert facts is not None
    assert facts["time_unit"] == "us"
    plain = Table("t", facts=FLAT).fed_by
    assert plain == {"topic": "rows", "schema": "row", "key": "card", "time": "at"}


def test_a_time_that_nothing_reads_need_not_be_in_the_training_data() -> None:
    """Its unit is declared for the events of the topic; a table may have fewer columns."""
    more = replace(FLAT, time_units={"at": "us", "updated": "ms"})
    table = pa.table({"id": ["1", "2"], "card": ["a", "b"], "at": [1, 2], "x": [0.5, 1.5]})
    declared = Pipeline("p", more, (Field("x"), DayOfWeek("at")), model="m", scores=Scores("s"))
    assert training_matrix(declared, {"rows": table}).matrix[:, 0].tolist() == [0.5, 1.5]
