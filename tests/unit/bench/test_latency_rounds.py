"""Loads, medians and ratios of the latency, and when a transaction of the loops by hand is committed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops.bench.hand_transactions import commit_due
from ops.bench.latency_rounds import RATES, RATES_SHARE_MAX, SHARES, loads, medians, ratios
from ops.bench.tuning import BATCH_ROWS_MAX, TRANSACTION_SECONDS


def run(p50: float | None, p99: float | None) -> dict[str, Any]:
    """Return a run with these percentiles."""
    return {"p50": p50, "p99": p99, "p999": p99}


def test_fixed_rates_are_measured_beside_shares_of_the_throughput() -> None:
    """In rising order, so that a queue that one load leaves behind is not there for the next one."""
    assert loads(300_000) == {
        "2000/s": 2_000,
        "10000/s": 10_000,
        "40000/s": 40_000,
        "20": 60_000,
        "50": 150_000,
        "80": 240_000,
    }
    assert list(loads(60_000)) == ["2000/s", "10000/s", "20", "50", "40000/s", "80"]


@given(st.floats(100, 1_000_000))
def test_no_rate_is_measured_that_the_worker_cannot_keep_up_with(capacity: float) -> None:
    """Shares always are; a fixed rate only well below the throughput."""
    found = loads(capacity)
    assert list(found.values()) == sorted(found.values())
    assert {str(share) for share in SHARES} <= set(found)
    for rate in RATES:
        assert (f"{rate}/s" in found) == (rate <= RATES_SHARE_MAX * capacity)


def test_medians_of_runs_leave_out_those_without_scores() -> None:
    """One outlier changes nothing; no score in any run is not zero milliseconds."""
    runs = {"surgetank": {"20": [run(10, 30), run(900, 31), run(11, 999)], "80": [run(None, None)]}}
    found = medians(runs)
    assert found["surgetank"]["20"] == {"p50": 11, "p99": 31, "p999": 31}
    assert found["surgetank"]["80"] == {"p50": None, "p99": None, "p999": None}
    assert medians({"a": {"20": [run(None, None), run(5, 6)]}})["a"]["20"]["p50"] == 5


def test_ratios_are_those_at_the_same_load() -> None:
    """Where both have figures; without the baseline there are none."""
    found = medians(
        {
            "surgetank": {"20": [run(30, 90)], "80": [run(50, 100)]},
            "hand_transactions": {"20": [run(20, 60)], "80": [run(None, None)]},
        }
    )
    assert ratios(found, "surgetank", "hand_transactions") == {"20": {"p50": 1.5, "p99": 1.5, "p999": 1.5}}
    assert ratios(found, "surgetank", "hand_state_transactions") == {}


def test_a_loop_that_keeps_up_commits_each_batch() -> None:
    """A batch that is not full leaves nothing waiting: to go on gathering would only add latency."""
    assert commit_due(0.0, 0)
    assert commit_due(0.0, BATCH_ROWS_MAX - 1)
    assert not commit_due(0.0, BATCH_ROWS_MAX)
    assert not commit_due(TRANSACTION_SECONDS * 0.99, BATCH_ROWS_MAX)
    assert commit_due(TRANSACTION_SECONDS, BATCH_ROWS_MAX)
