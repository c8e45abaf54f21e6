"""surgetank.processing.shadow_admission: when a shadow skips rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.processing.shadow_admission import LATE_SECONDS, Skipped, WorkerLoad, reason_to_skip
from surgetank.telemetry.metrics import SKIPPED

IDLE = WorkerLoad(rows=10, rows_max=100, queued_rows=5, age_seconds=0.02, waiting_rows=0, call_seconds=0.0)
DEADLINE = 20.0


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (IDLE, None),
        (replace(IDLE, rows=99), None),
        (replace(IDLE, rows=100), Skipped.FULL_BATCH),
        (replace(IDLE, queued_rows=100), Skipped.BACKLOG),
        (replace(IDLE, age_seconds=LATE_SECONDS + 0.1), Skipped.LATE),
        (replace(IDLE, age_seconds=-3600.0), None),
        (replace(IDLE, waiting_rows=90), None),
        (replace(IDLE, waiting_rows=91), Skipped.WAITING),
        (replace(IDLE, call_seconds=DEADLINE + 1), Skipped.HANGING),
        (replace(IDLE, rows=100, waiting_rows=100, call_seconds=DEADLINE + 1), Skipped.HANGING),
    ],
)
def test_a_shadow_is_the_first_to_give_way(load: WorkerLoad, reason: Skipped | None) -> None:
    """Each sign of a busy worker is enough."""
    assert reason_to_skip(load, call_deadline_seconds=DEADLINE) is reason


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 200), st.floats(-2, 2), st.floats(0, 30))
def test_more_load_never_admits_rows(rows: int, queued: int, waiting: int, age: float, call: float) -> None:
    """A batch that is skipped would be skipped by a busier worker too."""
    load = replace(IDLE, rows=rows, queued_rows=queued, waiting_rows=waiting, age_seconds=age, call_seconds=call)
    if reason_to_skip(load, call_deadline_seconds=DEADLINE) is not None:
        busier = replace(load, queued_rows=queued + 1, waiting_rows=waiting + 1, age_seconds=age + 1)
        assert reason_to_skip(busier, call_deadline_seconds=DEADLINE) is not None


def test_all_reasons_are_labels() -> None:
    """Otherwise the first row that is skipped for a new reason would raise an error."""
    assert SKIPPED.values == set(Skipped)
