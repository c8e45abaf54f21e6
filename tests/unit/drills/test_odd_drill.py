"""The plan, the report and the failures of the drill with odd pipelines, without Kafka."""

import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surgetank.drills.odd import pipeline_run
from surgetank.drills.odd.declaration import odd_pipeline
from surgetank.drills.odd.drill import OddPlan, run_odd
from surgetank.drills.odd.judge import Judge
from surgetank.drills.odd.pipeline_run import PipelineResult, PipelineRun
from surgetank.drills.odd.report import OddReport
from surgetank.errors import SettingsError
from surgetank.settings import KafkaSettings

UNREACHABLE = KafkaSettings(bootstrap="127.0.0.1:1")


def result(**changed: Any) -> PipelineResult:
    """Return the result of a pipeline that ran and was right."""
    usual: dict[str, Any] = {"resident_bound": 2, "resident_peak": 1, "positions": 5, "outcomes": Counter(score=5)}
    return PipelineResult(**({"number": 0} | usual | changed))


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([result()], "passed"),
        ([result(), result(wrong=1)], "FAILED"),
        ([], "FAILED: no pipeline ran, no record was read, no score"),
        ([PipelineResult(0, refused="a key of any type")], "FAILED: no pipeline ran, no record was read, no score"),
        ([result(positions=0, outcomes=Counter())], "FAILED: no record was read, no score"),
        ([result(outcomes=Counter({"decode/empty": 5}))], "FAILED: no score"),
    ],
)
def test_a_drill_passes_only_if_it_judged_something(results: list[PipelineResult], verdict: str) -> None:
    """Pipelines must have run, records must have been read, and some of them scored."""
    report = OddReport.of(1, 0.0, results)

    assert report.lines[-1] == f"seed 1, 0 s: {verdict}"
    assert report.passed is (verdict == "passed")


def test_an_interrupted_drill_has_not_passed() -> None:
    """The report of the pipelines that were judged by then is not that of the plan."""
    report = OddReport.of(1, 0.0, [result()], interrupted=True)

    assert not report.passed
    assert "interrupted" in report.lines[-1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"only": (1, 7)}, "--only 7: the numbers of 3"), ({"only": (-1,)}, "--only -1"), ({"events": 2}, "--events 2")],
)
def test_a_plan_that_cannot_be_run_is_an_error(changed: dict[str, Any], words: str) -> None:
    """Unknown numbers of pipelines, and fewer events than pipelines."""
    with pytest.raises(SettingsError, match=words):
        OddPlan(**({"pipelines": 3, "events": 30, "seed": 1} | changed))


@pytest.mark.parametrize(("peak", "wrong"), [(0, 1), (1, 0), (1 << 40, 1)])
def test_a_size_that_is_not_known_or_too_large_is_a_mismatch(tmp_path: Path, peak: int, wrong: int) -> None:
    """A worker that had records has a resident size, and that is below its bound."""
    found = result(resident_peak=peak)
    PipelineRun(UNREACHABLE, tmp_path, "sender", threading.Event())._check_memory(odd_pipeline(3, 0), found)

    assert found.wrong == wrong


@pytest.mark.parametrize(("facts", "wrong"), [(7, 0), (6, 1), (0, 1)])
def test_counts_of_the_worker_that_differ_are_mismatches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, facts: int, wrong: int
) -> None:
    """Facts leave no output: a worker that leaves some out shows by its metric only."""
    monkeypatch.setattr(pipeline_run, "COUNTED_SECONDS", 0.0)
    odd, found = odd_pipeline(3, 0), PipelineResult(0)
    judge = Judge(odd, 1 << 20)
    judge.judgement.records.update({odd.events_topic: 5, odd.facts_topic: 7})
    counts = {"surgetank_events_scored_total": 5, "surgetank_facts_applied_total": facts}
    worker: Any = SimpleNamespace(total=lambda metric, topic: counts[metric])
    PipelineRun(UNREACHABLE, tmp_path, "sender", threading.Event())._check_counts(worker, odd, judge, found)

    assert found.wrong == wrong
    assert all("surgetank_facts_applied_total" in each for each in found.mismatches)


def test_an_error_in_one_pipeline_is_its_mismatch_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Any exception, whatever raises it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PipelineRun, "_topics", broken)

    report = run_odd(UNREACHABLE, tmp_path, OddPlan(4, 400, 3), say=print)

    assert not report.passed
    assert report.wrong == report.pipelines == 4
    assert all(found[0].startswith("ZeroDivisionError") for found in report.mismatches.values())


def test_an_interrupted_run_reports_the_pipelines_that_were_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C after the first pipeline: its result is in the report, and pipelines that wait are not run."""

    def say(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PipelineRun, "_run", lambda *_: None)

    report = run_odd(UNREACHABLE, tmp_path, OddPlan(4, 400, 3, jobs=1), say=say)

    assert report.interrupted
    assert report.pipelines == 1
