"""Change events of a database: id, key, time and features are fields of a record that may be null."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from surgetank import Events, Feature, Field, IsNull, Pipeline, Scores
from surgetank.codec.base import UNDECODABLE
from surgetank.processing.score_records import UNENCODABLE
from surgetank.serving.scorer import NOT_A_NUMBER
from tests.unit.codec.avro_samples import record, written
from tests.unit.processing.test_odd_fields import process, score_rows

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
ROW = record(("id", "long"), ("amount", ["null", MONEY]), ("at", "long"), name="Value")
ENVELOPE = record(("before", ["null", ROW]), ("after", ["null", "Value"]))
ARRIVED_MS = 1_700_000_000_000


def pipeline(feature: Feature) -> Pipeline:
    """Return a pipeline that scores this feature of changes."""
    events = Events(
        "events", schema="event", id="after.id", key="after.id", time="after.at", time_units={"after.at": "us"}
    )
    return Pipeline("odd", events, (feature,), model="m", scores=Scores("scores"))


def change(before: Any, after: Any) -> tuple[bytes | None, bytes | None]:
    """Return the record of a change."""
    return b"7", written(ENVELOPE, {"before": before, "after": after})


def row(amount: str) -> dict[str, Any]:
    """Return a row of the table."""
    return {"id": 7, "amount": Decimal(amount), "at": 1_000 * ARRIVED_MS}


def test_the_record_around_a_field_is_null(tmp_path: Path) -> None:
    """The field is null: a deletion has no id, so it ends as any event without one, and changes no other."""
    changes = [change(None, row("1.25")), change(row("1.25"), None), change(row("1.25"), row("-2.50"))]

    amounts = process(tmp_path, ENVELOPE, changes, ARRIVED_MS, pipeline(Field("after.amount")))
    inserts = process(tmp_path, ENVELOPE, changes, ARRIVED_MS, pipeline(IsNull("before")))

    assert [(each["event_id"], each["key"], each["score"]) for each in score_rows(amounts)] == [
        ("7", "7", 1.25),
        ("7", "7", -2.5),
    ]
    assert [each["score"] for each in score_rows(inserts)] == [1, 0]
    assert [(letter.row, letter.reason) for letter in amounts.dead] == [(1, NOT_A_NUMBER)]
    assert [(letter.row, letter.reason) for letter in inserts.dead] == [(1, UNENCODABLE)]


def test_a_decimal_has_more_digits_than_its_precision(tmp_path: Path) -> None:
    """The event is a dead letter that names byte and field."""
    wide = json.loads(json.dumps(ENVELOPE).replace('"precision": 10', '"precision": 11'))
    value = written(wide, {"before": None, "after": row("100000000.00")})

    declared = pipeline(Field("after.amount"))
    (letter,) = process(tmp_path, ENVELOPE, [(b"7", value)], ARRIVED_MS, declared).dead

    assert letter.reason is UNDECODABLE
    assert letter.message == "byte 10, field 'after.amount': the decimal has more digits than its type"
