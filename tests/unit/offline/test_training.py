"""surgetank.offline.training: one function from a source of events to the model's inputs, with tables or without."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Events, Field, Pipeline, Ratio, Scores, Table
from surgetank.errors import TopologyError
from surgetank.offline.topic_history import arrival_order
from surgetank.offline.topic_records import OFFSET_BITS
from surgetank.offline.training import training_matrix
from surgetank.settings import Settings

TOLD = Events("told", schema="told", key="who", time="at")
PIPELINE = Pipeline(
    name="t",
    events=Events("asked", schema="asked", key="who", time="at"),
    features=(Field("x"), Ratio("x", Table("known", facts=TOLD).last("said")), Table("own").last("x")),
    model="m",
    scores=Scores("t.scores"),
)


def times(*seconds: int) -> pa.Array:
    """Return seconds as instants."""
    return pa.array([1_000 * each for each in seconds], pa.timestamp("ms", tz="UTC"))


ASKED = pa.table(
    {"event_id": ["b", "a"], "who": ["k", "k"], "at": times(5, 2), "x": [6.0, 8.0], "fraud": [True, False]}
)
SOURCE = {"asked": ASKED, "told": pa.table({"who": ["k"], "at": times(1), "said": [4.0]})}
EXPECTED = np.array([[8, 2, np.nan], [6, 1.5, 8]], dtype=np.float32)


def test_tables_give_the_matrix_in_processing_order() -> None:
    """The events come back in the order of the matrix, with their other columns."""
    data = training_matrix(PIPELINE, SOURCE)
    np.testing.assert_array_equal(data.matrix, EXPECTED)
    assert data.events["event_id"].to_pylist() == ["a", "b"]
    assert data.events["fraud"].to_pylist() == [False, True]


def test_files_give_the_same_with_a_label(tmp_path: Path) -> None:
    """The label is read beside what the features need."""
    for topic, table in SOURCE.items():
        pq.write_table(table, tmp_path / f"{topic}.parquet")
    data = training_matrix(PIPELINE, tmp_path, columns=["fraud"])
    np.testing.assert_array_equal(data.matrix, EXPECTED)
    assert data.events["fraud"].to_pylist() == [False, True]


def test_the_order_is_that_of_arrival_where_it_is_known() -> None:
    """An event that arrived before the fact does not see it, whatever the times of both."""
    late = {
        "asked": ASKED.append_column("arrived", times(2, 1)),
        "told": SOURCE["told"].append_column("arrived", times(3)),
    }
    assert np.isnan(training_matrix(PIPELINE, late, arrived="arrived").matrix[:, 1]).all()


def test_no_events_give_a_matrix_without_rows() -> None:
    """An empty source is no error."""
    assert training_matrix(PIPELINE, {topic: table[:0] for topic, table in SOURCE.items()}).matrix.shape == (0, 3)


def test_what_is_missing_in_tables_is_named() -> None:
    """The topic, or the column and its topic."""
    with pytest.raises(TopologyError, match=r"no events of 'told'.*there are: asked"):
        training_matrix(PIPELINE, {"asked": ASKED})
    with pytest.raises(TopologyError, match="events of 'told' have no column 'said'"):
        training_matrix(PIPELINE, SOURCE | {"told": SOURCE["told"].drop_columns("said")})


def test_topics_have_their_own_order() -> None:
    """A column of arrival times is for files and tables; nothing is read for it."""
    with pytest.raises(ValueError, match="timestamps"):
        training_matrix(PIPELINE, Settings(), arrived="arrived")


arrivals = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), max_size=12)


@given(arrivals, arrivals)
def test_records_of_a_partition_stay_in_the_order_of_offsets(
    events: list[tuple[int, int]], facts: list[tuple[int, int]]
) -> None:
    """Whatever their timestamps; across topics the latest timestamp so far decides, and facts come first of equals."""
    topics, latest = [], []
    for records in (events, facts):
        partitions = np.sort(np.array([partition for partition, _ in records], dtype=np.int64))
        arrived = np.array([time for _, time in records], dtype=np.int64)
        topics.append(((partitions << OFFSET_BITS) + np.arange(len(records)), arrived))
        latest.append(
            [
                max(time for time, of in zip(arrived[: row + 1], partitions, strict=False) if of == partitions[row])
                for row in range(len(records))
            ]
        )

    own, of_facts = arrival_order(topics)

    assert sorted([*own, *of_facts]) == list(range(len(events) + len(facts)))
    for ordinals, (positions, _) in zip((own, of_facts), topics, strict=True):
        for partition in (0, 1):
            assert (np.diff(ordinals[positions >> OFFSET_BITS == partition]) > 0).all()
    for event, at in zip(own, latest[0], strict=True):
        for fact, time in zip(of_facts, latest[1], strict=True):
            assert (fact < event) == (time <= at)
