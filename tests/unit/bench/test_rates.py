"""The arithmetic of the bench: samples to rates, runs to medians, medians to ratios."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.bench.rates import FROM, TO, MeasuredRun, ProgressSample, growth, mark, ratios, run_of, summary


def steady(
    rate: float, cpu_share: float, target: int, *, start: float = 100.0, idle: float = 2.0
) -> list[ProgressSample]:
    """Return looks, ten a second, at a process that starts for ``idle`` seconds and is then steady."""
    looks = [ProgressSample(start + k / 10, 0, k / 10) for k in range(int(idle * 10))]
    begin, used = start + idle, idle
    step = 0
    while not looks or looks[-1].done < target:
        seconds = step / 10
        looks.append(ProgressSample(begin + seconds, int(seconds * rate), used + seconds * cpu_share, seconds / 2))
        step += 1
    return looks


def a_run(per_second: float, per_cpu_second: float) -> MeasuredRun:
    """Return a run with these rates."""
    return MeasuredRun(1, 1.0, 1.0, per_second, per_cpu_second, 0.1, 0.0)


@settings(deadline=None)
@given(
    rate=st.integers(1_000, 500_000),
    cpu_share=st.floats(0.05, 2.0),
    idle=st.floats(0.0, 30.0),
    seconds=st.integers(5, 20),
)
def test_a_steady_process_has_its_rate_however_long_it_took_to_start(
    rate: int, cpu_share: float, idle: float, seconds: int
) -> None:
    """Start-up counts neither for the rate per second nor for that per CPU second."""
    run = run_of(steady(rate, cpu_share, rate * seconds, idle=idle), rate * seconds, started=100.0)
    assert run.events_per_second == pytest.approx(rate, rel=0.01)
    assert run.events_per_cpu_second == pytest.approx(rate / cpu_share, rel=0.02)
    assert run.events >= (TO - FROM) * rate * seconds - rate / 10


def test_the_end_of_a_run_in_which_partitions_run_dry_does_not_count() -> None:
    """What comes after 95 % of the scores may be as slow as it likes."""
    looks = [ProgressSample(float(k), k * 100, k / 2) for k in range(97)]
    slow = [ProgressSample(1000.0 + k, 9_600 + k, 500.0) for k in range(401)]
    assert run_of([*looks, *slow], 10_000, started=0.0) == run_of(looks, 10_000, started=0.0)


def test_what_only_warms_up_does_not_count() -> None:
    """However slow it was, and however much of the run it is."""
    warming = [ProgressSample(float(k), 10 * k, float(k)) for k in range(100)]
    steadily = [ProgressSample(100 + k / 10, 1_000 + 50 * k, 100 + k / 20) for k in range(201)]
    run = run_of([*warming, *steadily], 11_000, started=0.0, warm=1_000)
    assert (run.events_per_second, run.events_per_cpu_second) == (500, 1_000)
    assert run.events == pytest.approx((TO - FROM) * 10_000, abs=50)
    assert (mark(FROM, 11_000, 1_000), mark(FROM, 10_000)) == (2_000, 1_000)


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([], "only 0 of 1,000"),
        ([ProgressSample(1.0, 0, 0.1), ProgressSample(2.0, 900, 0.2)], "only 900 of 1,000"),
        ([ProgressSample(1.0, 0, 0.1), ProgressSample(2.0, 1000, 0.2)], "too few to measure"),
    ],
)
def test_what_cannot_be_measured_is_refused(samples: list[ProgressSample], why: str) -> None:
    """A run that did not get far enough, or that is over between two looks, gives no figure."""
    with pytest.raises(ValueError, match=why):
        run_of(samples, 1_000, started=0.0)


def test_the_first_score_is_counted_from_the_start_of_the_process() -> None:
    """The time to the first score includes importing, joining and fetching."""
    assert run_of(steady(1000, 1.0, 5000, idle=2.0), 5000, started=99.0).first_score_seconds == pytest.approx(
        3.1, abs=0.01
    )


def test_one_outlier_of_three_runs_changes_nothing() -> None:
    """Medians are taken of each unit by itself, and all runs are kept."""
    found = summary([a_run(100, 50), a_run(1, 49), a_run(102, 900)])
    assert (found["events_per_second"], found["events_per_cpu_second"]) == (100, 50)
    assert [run["events_per_second"] for run in found["runs"]] == [100, 1, 102]


def test_ratios_say_how_many_times_the_others_surgetank_does() -> None:
    """Above 1 Surgetank does more; it has no ratio to itself."""
    found = {"surgetank": summary([a_run(200, 90)]), "hand_loop": summary([a_run(100, 100)])}
    assert ratios(found) == {"hand_loop": {"events_per_second": 2.0, "events_per_cpu_second": 0.9}}


def test_without_surgetank_there_are_no_ratios() -> None:
    """A bench of some contenders only still gives their figures."""
    assert ratios({"hand_loop": summary([a_run(1, 1)])}) == {}


def test_growth_says_how_many_times_the_cpu_an_event_takes() -> None:
    """Above 1 an event takes more than before."""
    assert growth(summary([a_run(1, 300)]), summary([a_run(1, 200)])) == 1.5
