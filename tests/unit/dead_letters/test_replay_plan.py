"""Which dead letters are sent again: marks of what was sent, and the reasons not to send."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.dead_letters.letters import SCHEMA
from surgetank.dead_letters.replay_marks import ReplayedLetters, mark
from surgetank.dead_letters.replay_plan import DECISIONS, Decision, ReplayPlan
from surgetank.dead_letters.selection import Selection
from surgetank.record_compression import RecordBytes

OFFSETS = st.sets(st.integers(0, 40), min_size=1)


@given(st.lists(st.tuples(st.integers(0, 2), OFFSETS), max_size=5))
def test_marks_name_exactly_the_letters_that_were_sent(transactions: list[tuple[int, set[int]]]) -> None:
    """Of any transactions, in any order, with gaps."""
    marks = [mark("id", partition, np.array(sorted(offsets))) for partition, offsets in transactions]

    sent = ReplayedLetters("id", marks)

    for partition in range(4):
        expected = {offset for number, offsets in transactions if number == partition for offset in offsets}
        found = sent.mask(partition, np.arange(-1, 45))
        assert set((np.flatnonzero(found) - 1).tolist()) == expected


def test_marks_of_a_topic_that_was_created_again_do_not_count() -> None:
    """Its offsets are those of other letters."""
    sent = ReplayedLetters("new", [mark("old", 0, np.array([1, 2])), mark("new", 0, np.array([2]))])
    assert sent.mask(0, np.array([1, 2])).tolist() == [False, True]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"7", b'{"topic_id": "", "partition": 0, "offsets": [1]}'])
def test_a_record_that_is_no_mark_is_an_error(value: bytes | None) -> None:
    """Without it nobody knows what was sent."""
    with pytest.raises(ValueError, match="no mark of a replay"):
        ReplayedLetters("", [value])


def letters(**columns: Sequence[object]) -> pa.RecordBatch:
    """Return letters of partition 0 with these columns; the others have the values of a letter to send."""
    n = len(next(iter(columns.values())))
    usual = {
        "partition": 0,
        "stage": "decode",
        "reason": "undecodable",
        "source_topic": "events",
        "source_partition": 1,
        "attempts": 1,
        "cut": False,
        "bytes": 1_000,
    }
    rows = [
        dict.fromkeys(SCHEMA.names) | usual | {"offset": row} | {name: each[row] for name, each in columns.items()}
        for row in range(n)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def decisions(
    plan: ReplayPlan, found: pa.RecordBatch, sent: tuple[int, ...] = (), compressed: Sequence[int] = ()
) -> list[str | None]:
    """Return the decision of each letter by name. ``compressed`` are the sizes of the letters, compressed."""
    marks = [mark("", 0, np.array(sent))] if sent else []
    return [
        DECISIONS[decision].value if decision >= 0 else None
        for decision in plan.decide(found, ReplayedLetters("", marks), compressed.__getitem__).tolist()
    ]


LIMITS = {"events": RecordBytes(2_000, 0), "facts": RecordBytes(3_000, 0)}
PLAN = ReplayPlan(Selection(), {"events": 4, "facts": 2}, LIMITS, 3)


def test_a_letter_is_sent_unless_there_is_a_reason_not_to() -> None:
    """Parked after three failures; without a value; of a topic or partition that the pipeline does not read."""
    assert decisions(PLAN, letters(attempts=[1, 2, 3, 9])) == ["send", "send", "parked", "parked"]
    assert decisions(PLAN, letters(cut=[True, False])) == ["without value", "send"]
    sizes = letters(bytes=[2_000, 2_001, 2_001], source_topic=["events", "events", "facts"])
    assert decisions(PLAN, sizes) == ["send", "too large for its topic", "send"]
    topics = ["events", "facts", "facts", "other", None]
    assert decisions(PLAN, letters(source_topic=topics, source_partition=[3, 1, 2, 0, None])) == [
        *("send", "send", "of another topic", "of another topic", "of another topic")
    ]
    assert decisions(PLAN, letters(source_partition=[-1, 4, 0])) == ["of another topic", "of another topic", "send"]


def test_an_event_that_came_compressed_is_sent_compressed() -> None:
    """If it fits compressed, and is not too large for the client. Others are not compressed to find that out."""
    plan = ReplayPlan(Selection(), {"events": 4}, {"events": RecordBytes(2_000, 90_000)}, 3)
    assert decisions(plan, letters(bytes=[90_000, 90_000, 90_001]), compressed=[2_000, 2_001, 1]) == [
        *("send", "too large for its topic", "too large for its topic")
    ]
    assert decisions(plan, letters(bytes=[2_000])) == ["send"]
    assert decisions(plan, letters(bytes=[3_000], cut=[True])) == ["without value"]


def test_what_was_sent_is_not_sent_again() -> None:
    """Also if it could not be sent for another reason by now."""
    assert decisions(PLAN, letters(attempts=[1, 1, 5]), sent=(1, 2)) == ["send", "already sent", "already sent"]


def test_what_is_not_selected_has_no_decision() -> None:
    """Nor does an empty batch."""
    plan = ReplayPlan(Selection(reasons=("not_framed",)), {"events": 4}, LIMITS, 3)
    assert decisions(plan, letters(reason=["undecodable", "not_framed", None])) == [None, Decision.SEND, None]
    assert decisions(plan, letters(reason=["x"]).slice(0, 0)) == []
