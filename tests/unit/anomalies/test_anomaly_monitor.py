"""The anomaly monitor and the worker listener: metrics, log and timeline events of each fault."""

import logging

import numpy as np
import pytest

from surgetank.anomalies.alarm import AlarmChange
from surgetank.anomalies.anomaly_monitor import AnomalyMonitor
from surgetank.records import Step, TopicPartition
from surgetank.serving.scorer import MODEL_ERROR
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline.timeline_reporter import TimelineReporter
from surgetank.worker.worker_listener import WorkerListener

SOURCE = TopicPartition("t", 0)


class SteppedClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now(self) -> float:
        """Return the set time."""
        return self.seconds

    def monotonic(self) -> float:
        """Return the set time."""
        return self.seconds


class Worker:
    """A worker that scores 200 events in two seconds, a tenth of them without input b."""

    def __init__(self) -> None:
        self.metrics, self.clock = Metrics(), SteppedClock()
        self.monitor = AnomalyMonitor("t", ("a", "b"), self.metrics, self.clock)
        self._random = np.random.default_rng(3)
        self._end = 0

    def works(
        self, *, events: int = 200, missing: float = 0.1, dead: float = 0.0, seconds: float = 0.02, shift: float = 0.0
    ) -> list[AlarmChange]:
        """Advance the clock by two seconds, record a batch and evaluate the detectors."""
        self.clock.seconds += 2
        self._end += events
        matrix = self._random.normal(size=(events, 2)).astype(np.float32)
        matrix[: round(missing * events), 1] = np.nan
        self.monitor.record(matrix, self._random.normal(shift, 1, events))
        self.metrics.events_received.add(events, topic="t")
        self.metrics.events_dead.add(round(dead * events), stage=Step.INFER, reason=MODEL_ERROR.label)
        self.metrics.end_to_end_seconds.observe_many(np.full(events, seconds))
        return self.monitor.evaluate({SOURCE: self._end, TopicPartition("facts", 0): int(self._random.integers(10**9))})

    def is_quiet(self) -> bool:
        """Return whether twenty minutes of normal traffic raise no anomaly."""
        return [change for _ in range(600) for change in self.works()] == []


@pytest.mark.parametrize(
    ("fault", "signals"),
    [
        ({"events": 800}, {"arrival_rate"}),
        ({"seconds": 1.5}, {"latency"}),
        ({"dead": 0.05}, {"error_rate"}),
        ({"missing": 0.5}, {"missing:b"}),
        ({"shift": 0.8}, {"score_psi", "score_ks"}),
    ],
)
def test_each_fault_raises_its_own_signal_and_no_other(fault: dict[str, float], signals: set[str]) -> None:
    """The metrics show the anomaly until a minute after the fault; each change has a reason with figures."""
    worker = Worker()
    assert worker.is_quiet()
    began = [change for _ in range(30) for change in worker.works(**fault)]  # type: ignore[arg-type]
    assert {change.signal for change in began} == signals
    assert all(change.begins and change.score > 1 and any(sign.isdigit() for sign in change.why) for change in began)
    page = worker.metrics.expose()[0].decode()
    for signal in worker.monitor._detectors.active:
        assert f'surgetank_anomaly{{signal="{signal}"}} {float(signal in signals)}' in page
    ended = [change for _ in range(60) for change in worker.works()]
    assert {change.signal for change in ended if not change.begins} == signals
    assert not any(worker.monitor._detectors.active.values())


class FailingMonitor(AnomalyMonitor):
    """A monitor whose evaluation fails."""

    def evaluate(self, ends: object) -> list[AlarmChange]:
        """Raise an error."""
        raise RuntimeError("broken")


class RecordingReporter(TimelineReporter):
    """A reporter that keeps the events in a list."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def anomaly(self, signal: str, *, begins: bool, score: float, why: str) -> None:
        """Keep an anomaly."""
        self.lines.append(f"{signal} {begins}")

    def opened(self, partitions: object) -> None:
        """Keep opened tasks."""
        self.lines.append(f"opened {sorted(partitions)}")  # type: ignore[call-overload]

    def rebalanced(self, change: str, partitions: object) -> None:
        """Keep a rebalance."""
        self.lines.append(f"{change} {partitions}")


@pytest.fixture
def reporter() -> RecordingReporter:
    """Return a reporter that keeps the events in a list."""
    return RecordingReporter()


def test_an_anomaly_is_logged_and_written_to_the_timeline(
    reporter: RecordingReporter, caplog: pytest.LogCaptureFixture
) -> None:
    """The start is a warning; tasks opened since the last evaluation are one event."""
    worker = Worker()
    assert worker.is_quiet()
    listener = WorkerListener(worker.monitor, reporter)
    listener.moved("gained", [0, 1])
    listener.moved("opened", [1])
    listener.moved("opened", [0])
    with caplog.at_level(logging.INFO):
        for number in range(30):
            worker.clock.seconds += 2
            listener.looked({SOURCE: 120_000 + 2000 * number})
    assert reporter.lines == ["gained [0, 1]", "opened [0, 1]", "arrival_rate True"]
    (record,) = [record for record in caplog.records if record.getMessage() == "anomaly_begins"]
    assert record.levelname == "WARNING"
    assert "events/s arrive" in record.__dict__["fields"]["why"]


def test_a_failed_evaluation_is_logged_and_not_raised(
    reporter: RecordingReporter, caplog: pytest.LogCaptureFixture
) -> None:
    """The monitor thread, which also runs the watchdog, continues."""
    listener = WorkerListener(FailingMonitor("t", (), Metrics(), SteppedClock()), reporter)
    listener.looked({})
    assert "anomaly evaluation failed" in caplog.text
