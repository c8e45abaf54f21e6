"""A worker's batches become counts of the judge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.rollout.judge.blocks import ScoreScale
from surgetank.rollout.measurements import StepMeasurements

NAN = float("nan")


def keys(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return hashes of keys."""
    return np.array(numbers, dtype=np.uint64)


def test_answers_are_counted_by_version() -> None:
    """Errors, NaN, scores and distinct keys of each; a row that raised has no score and is no NaN."""
    worker = StepMeasurements(ScoreScale(1.0, 2.0, (0.5,)), latency_bound=1)
    version = np.array([0, 0, 0, 1, 1], dtype=np.int32)
    scores = np.array([1.0, NAN, NAN, 3.0, 5.0])
    raised = np.array([False, True, False, False, False])
    worker.add_answers(0.0, keys(1, 2, 3, 4, 5), version, scores, raised)
    counts = worker.counts()
    primary, candidate = counts.primary, counts.candidate
    assert (primary.rows, primary.keys, primary.errors.total, primary.not_a_number.total) == (3, 3, 1, 1)
    assert (primary.scores.blocks, primary.scores.total, primary.bins) == (1, 0.0, (0, 1))
    assert (candidate.rows, candidate.keys, candidate.errors.total, candidate.scores.total) == (2, 2, 0, 3.0)


def test_a_key_counts_once_in_a_window() -> None:
    """In batches of one second and of the next; in the next window again."""
    worker = StepMeasurements(ScoreScale(), latency_bound=1, window_seconds=10)
    for now in (0.0, 0.1, 5.0, 12.0):
        worker.add_answers(now, keys(7, 7), np.zeros(2, np.int32), np.ones(2), np.ones(2, np.bool_))
    errors = worker.counts().primary.errors
    assert (errors.keys, errors.blocks, errors.total) == (1, 2, 2)
    assert worker.counts().primary.rows == 8


def test_shadow_rows_are_compared_row_by_row() -> None:
    """Errors and NaN of one version alone, differences of scores where both have one."""
    worker = StepMeasurements(ScoreScale(9.0, 2.0, (1.0,)), latency_bound=1)
    yes, no = True, False
    primary = (np.array([1.0, 1.0, NAN, NAN, 2.0]), np.array([no, no, yes, no, yes]))
    candidate = (np.array([4.0, NAN, 1.0, 1.0, NAN]), np.array([no, no, no, no, yes]))
    worker.add_shadow(0.0, keys(1, 2, 3, 4, 5), primary, candidate)
    shadow = worker.counts().shadow
    assert shadow.rows == 5
    assert (shadow.errors.only_candidate, shadow.errors.only_primary) == (0, 1)
    assert (shadow.not_a_number.only_candidate, shadow.not_a_number.only_primary) == (1, 1)
    assert (shadow.differences.blocks, shadow.differences.total) == (1, 1.5)


def test_slow_seconds_are_compared_where_both_versions_were_called() -> None:
    """Several calls in a second are one; a second without a call of one version is left out."""
    worker = StepMeasurements(ScoreScale(), latency_bound=0.1)
    calls = [(0.0, 0, 0.05), (0.5, 1, 0.2), (0.6, 1, 0.3), (1.0, 1, 0.5), (2.0, 0, 0.2), (2.1, 1, 0.2), (3.0, 0, 0.2)]
    for now, version, seconds in calls:
        worker.add_call(now, version, seconds)
    slow = worker.counts().slow
    assert (slow.only_candidate, slow.only_primary, slow.difference.blocks) == (1, 0, 2)
    worker.add_call(3.5, 1, 0.01)
    assert worker.counts().slow.only_primary == 1


def test_losses_are_those_of_the_version_that_scored() -> None:
    """Labels come late: they count by the time of their arrival."""
    worker = StepMeasurements(ScoreScale(5.0, 2.0), latency_bound=1)
    worker.add_losses(0.0, keys(1, 2), 1, np.array([0.5, 1.0]))
    counts = worker.counts()
    assert (counts.candidate.losses.total, counts.primary.losses.blocks) == (1.5, 0)


def test_very_many_rows_are_counted_by_a_sample_of_the_keys() -> None:
    """Of 200,000 rows in a second; the same part for both versions, and of no row is the number unknown."""
    random = np.random.default_rng(2)
    worker = StepMeasurements(ScoreScale(), latency_bound=1)
    hashes = random.integers(0, 2**63, 50_000).astype(np.uint64)
    for part in range(50):
        version = (random.random(4000) < 0.01).astype(np.int32)
        raised = random.random(4000) < 0.1
        chosen = random.integers(0, 25_000, 4000) + 25_000 * version
        worker.add_answers(part / 50, hashes[chosen], version, np.ones(4000), raised)
    counts = worker.counts()
    assert counts.primary.rows + counts.candidate.rows == 200_000
    assert 2000 < counts.primary.keys < 10_000
    known = 25_000 * (1 - (1 - 1 / 25_000) ** 2000)  # of the candidate's keys, those that came
    assert counts.candidate.keys / known == pytest.approx(counts.primary.keys / 25_000, rel=0.25)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.booleans()), max_size=50), st.integers(1, 50))
def test_counts_do_not_depend_on_the_size_of_batches(rows: list[tuple[int, int, bool]], size: int) -> None:
    """Ten rows a second, cut into batches of any size, asked for after each or only at the end."""
    whole, parts = (StepMeasurements(ScoreScale(0.0, 1.0, (0.5,)), latency_bound=1) for _ in range(2))
    for worker, step in ((whole, 1), (parts, size)):
        for start in range(0, len(rows), step):
            key, version, raised = (np.array(column) for column in zip(*rows[start : start + step], strict=True))
            scores = key / 8  # sums of eighths are exact
            worker.add_answers(1.0, key.astype(np.uint64), version.astype(np.int32), scores, raised.astype(np.bool_))
            if worker is parts:
                worker.counts()
    assert whole.counts() == parts.counts()
