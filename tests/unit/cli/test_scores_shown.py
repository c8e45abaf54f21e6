"""`surgetank scores` prints every event time that an event can have."""

import json

import numpy as np
import pyarrow as pa
import pytest

from surgetank.cli.scores import print_lines, print_table, with_texts_of_times
from surgetank.codec.schema_repository import project_schemas

# Milliseconds, the same instant in microseconds and seconds, and the ends of the range.
TIMES = [1_700_000_000_123, 1_700_000_000_123_000, 1_700_000_000, -1, 2**63 - 1, -(2**63) + 1, 253_402_300_800_000]
TEXTS = [
    "2023-11-14T22:13:20.123Z",
    "1700000000123000",
    "1970-01-20T16:13:20.000Z",
    "1969-12-31T23:59:59.999Z",
    "9223372036854775807",
    "-9223372036854775807",
    "10000-01-01T00:00:00.000Z",
]


def scores() -> pa.RecordBatch:
    """Return scores of events with these times."""
    schema, n = project_schemas().columns("score"), len(TIMES)
    columns = {}
    for field in schema:
        if pa.types.is_timestamp(field.type):
            columns[field.name] = pa.array(TIMES).view(field.type)
        elif pa.types.is_string(field.type):
            columns[field.name] = pa.array(["x"] * n)
        else:
            columns[field.name] = pa.array(np.zeros(n)).cast(field.type)
    return pa.RecordBatch.from_pydict(columns, schema=schema)


def test_event_times_are_seconds_or_microseconds_instead_of_milliseconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines and table print them, as a time or, beyond the calendar, as the number that came."""
    assert with_texts_of_times(scores())["event_time"].to_pylist() == TEXTS

    print_lines(scores(), True)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["event_time"] for line in lines] == TEXTS
    monkeypatch.setenv("COLUMNS", "130")  # enough for all columns
    print_table(scores(), True)
    table = capsys.readouterr().out
    assert TEXTS[0][:10] in table
