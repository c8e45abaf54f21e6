"""Few runs of the judge's simulation; `make judge` has all of them."""

import numpy as np
import pytest

from surgetank.rollout.judge.blocks import ScoreScale
from surgetank.rollout.judge.plan import RolloutStep
from surgetank.rollout.judge.simulation import Scenario, looks
from surgetank.rollout.judge.verdict import StepDecision, judge
from surgetank.rollout.measurements import StepMeasurements
from tests.support import judge_simulation

BAD = [row for row in judge_simulation.REQUIRED if row.share_min is not None]
ALIKE = [row for row in judge_simulation.REQUIRED if row.share_max is not None]


@pytest.mark.parametrize("row", BAD, ids=[row.name for row in BAD])
def test_a_bad_version_is_rolled_back_in_time(row: judge_simulation.Row) -> None:
    """In at least nine of ten runs: of 40 runs, even a judge that reaches 95 % may miss 4."""
    result = judge_simulation.run(row, 40)
    assert len(result.seen) >= 36
    assert row.median_max is None or result.median <= row.median_max


@pytest.mark.parametrize("row", ALIKE, ids=[row.name for row in ALIKE])
def test_a_version_that_is_alike_is_left_alone(row: judge_simulation.Row) -> None:
    """In ten runs of ten minutes, looked at every second."""
    assert judge_simulation.run(row, 10).seen == []


def test_lines_of_the_table_fit_a_terminal() -> None:
    """80 columns, also where a figure is missed."""
    rows = [*judge_simulation.REQUIRED, *judge_simulation.TOLD]
    results = [judge_simulation.Result(row, [None] * 10) for row in rows]
    assert max(len(judge_simulation.line(result)) for result in results) <= 80
    assert [result.row for result in results if not result.reached] == BAD
    assert judge_simulation.Result(ALIKE[0], [600] * 10).reached is False


@pytest.mark.parametrize("share", [0.05, None])
def test_simulated_sums_are_those_of_counted_blocks(share: float | None) -> None:
    """Sums over sticky keys keep what sums over keys always keep."""
    for counts in looks(Scenario(60, share=share, keys=500), seed=3):
        parts = [counts.shadow.errors.difference] if share is None else [counts.candidate.errors, counts.primary.scores]
        for sums in parts:
            assert 0 <= sums.keys <= 500
            assert sums.blocks >= sums.keys
            assert sums.blocks_squared >= sums.blocks
            assert sums.residual_squares(sums.mean) >= 0
            assert sums.products**2 <= sums.squares * sums.blocks_squared * (1 + 1e-9)


@pytest.mark.parametrize(("factor", "decision"), [(1.0, StepDecision.CONTINUE), (3.0, StepDecision.ROLL_BACK)])
def test_rows_of_a_worker_reach_a_verdict(factor: float, decision: StepDecision) -> None:
    """Whole columns of rows of sticky keys, counted as a worker counts them, for half a minute."""
    random = np.random.default_rng(11)
    keys = random.integers(0, 2**63, 4000).astype(np.uint64)
    mine = random.random(4000) < 0.05
    rates = random.beta(2, 2 * 19, 4000) * np.where(mine, factor, 1.0)
    worker = StepMeasurements(ScoreScale(), latency_bound=0.1)
    for second in range(30):
        for part in range(4):
            chosen = random.integers(0, 4000, 500)
            raised = random.random(500) < rates[chosen]
            scores = random.normal(size=500)
            worker.add_answers(second + part / 4, keys[chosen], mine[chosen].astype(np.int32), scores, raised)
    verdict = judge(worker.counts(), RolloutStep(0.05, 600), 30)
    assert verdict.decision is decision, verdict.why
