"""surgetank.features.conditions: whether a condition holds, does not hold, or is not known."""

import math

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Above, And, Events, IsNull, Not, OneOf, Or, Pipeline, Scores, Table, hours
from surgetank.errors import TopologyError
from surgetank.features.spec import Input
from surgetank.features.tables import table_states

COLUMNS = pa.record_batch({"a": pa.array([1.0, 0.0, None]), "country": pa.array(["NL", None, "BE"])})
TRUTHS = pa.record_batch(
    {"a": pa.array([1.0, 1, 1, 0, 0, 0, None, None, None]), "b": pa.array([1.0, 0, None, 1, 0, None, 1, 0, None])}
)
UNKNOWN = math.nan


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (And("a", "b"), [1, 0, UNKNOWN, 0, 0, 0, UNKNOWN, 0, UNKNOWN]),
        (Or("a", "b"), [1, 1, 1, 1, 0, UNKNOWN, 1, UNKNOWN, UNKNOWN]),
        (Not("a"), [0, 0, 0, 1, 1, 1, UNKNOWN, UNKNOWN, UNKNOWN]),
    ],
)
def test_conditions_are_three_valued(condition: Input, expected: list[float]) -> None:
    """A missing operand is not known: it decides only together with one that settles the result."""
    np.testing.assert_array_equal(condition.evaluate(TRUTHS, {}), expected)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_text_is_one_of_several(kind: pa.DataType) -> None:
    """Null is neither one of them nor not."""
    columns = pa.record_batch({"country": COLUMNS["country"].cast(kind)})
    np.testing.assert_array_equal(OneOf("country", ("NL", "DE")).column(columns), [1, UNKNOWN, 0])


def test_conditions_combine_texts_and_numbers() -> None:
    """Operands are columns or any other features."""
    condition = Or(And(Above("a", 0.5), OneOf("country", ("NL",))), IsNull("a"))
    np.testing.assert_array_equal(condition.column(COLUMNS), [1, 0, 1])
    assert condition.name == "((a_above_0.5)_and_(country_in_NL))_or_(a_is_null)"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Above(Table("cards").count(window=hours(1)), 3), "reads aggregate 'cards_count_1h'"),
        ("amount", "must be a condition"),
    ],
)
def test_a_condition_reads_columns_only(condition: object, message: str) -> None:
    """Whether an event is taken or scored must not depend on state: an audit computes it again."""
    with pytest.raises(TopologyError, match=f"events 'e': only .*{message}"):
        Events("e", schema="event", time="t", only=condition)  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match=f"pipeline 'p': score_only .*{message}"):
        Pipeline(
            "p",
            Events("e", schema="event", time="t"),
            (IsNull("a"),),
            "m",
            Scores("s"),
            score_only=condition,  # type: ignore[arg-type]
        )


def test_the_columns_of_conditions_are_checked() -> None:
    """A condition on a field that the events do not have is refused like a feature."""
    schema = pa.schema([("event_id", pa.string()), ("t", pa.timestamp("ms", "UTC")), ("a", pa.float64())])
    events = Events("e", schema="event", time="t", only=Above("b", 0))
    with pytest.raises(TopologyError, match="'b_above_0' reads column 'b'"):
        Pipeline("p", events, (IsNull("a"),), "m", Scores("s")).check(schema)


@pytest.mark.parametrize("texts", ["NL", ()])
def test_texts_are_several(texts: object) -> None:
    """One text would be read as its letters."""
    with pytest.raises(TopologyError, match="one of 'country': "):
        OneOf("country", texts)  # type: ignore[arg-type]


def test_state_of_another_filter_is_another_state() -> None:
    """Rows of filtered events do not fit a pipeline without the filter; those of earlier versions stay the same."""
    own, facts = Table("t"), Events("f", schema="event", key="k", time="t")
    (plain,) = table_states([own.count(window=hours(1))])
    (filtered,) = table_states([own.count(window=hours(1))], only=Above("a", 0))
    (fed,) = table_states([Table("t", facts=facts).count(window=hours(1))], only=Above("a", 0))
    only = Events("f", schema="event", key="k", time="t", only=Above("a", 0))
    (fed_filtered,) = table_states([Table("t", facts=only).count(window=hours(1))])

    assert plain.layout.fed_by == repr("the pipeline's events")
    assert fed.layout.fed_by == repr({"topic": "f", "schema": "event", "key": "k", "time": "t"})
    assert len({each.layout.fingerprint() for each in (plain, filtered, fed, fed_filtered)}) == 4
