"""From what a worker counts and computes to its metrics, its log and its timeline."""

import logging

import numpy as np
import pytest

from pipeline.anomalies.alarm import AlarmChange
from pipeline.anomalies.anomaly_monitor import AnomalyMonitor
from pipeline.records import DeadLetterReason, Step, TopicPartition
from pipeline.telemetry.metrics import Metrics
from pipeline.timeline.timeline_reporter import TimelineReporter
from pipeline.worker_listener import WorkerListener

SOURCE = TopicPartition("t", 0)


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now(self) -> float:
        """Return the set time."""
        return self.seconds

    def monotonic(self) -> float:
        """Return the set time."""
        return self.seconds


class Worker:
    """What a watched worker would do in two seconds: 200 events, a tenth without input b, and their scores."""

    def __init__(self) -> None:
        self.metrics, self.clock = Metrics(), SteppedClock()
        self.watch = AnomalyMonitor("t", ("a", "b"), self.metrics, self.clock)
        self._random = np.random.default_rng(3)
        self._end = 0

    def works(
        self, *, events: int = 200, missing: float = 0.1, dead: float = 0.0, seconds: float = 0.02, shift: float = 0.0
    ) -> list[AlarmChange]:
        """Let two seconds pass, and look."""
        self.clock.seconds += 2
        self._end += events
        matrix = self._random.normal(size=(events, 2)).astype(np.float32)
        matrix[: round(missing * events), 1] = np.nan
        self.watch.saw(matrix, self._random.normal(shift, 1, events))
        self.metrics.events_received.add(events, topic="t")
        self.metrics.events_dead.add(round(dead * events), stage=Step.INFER, reason=DeadLetterReason.MODEL_ERROR)
        self.metrics.end_to_end_seconds.observe_many(np.full(events, seconds))
        return self.watch.look({SOURCE: self._end, TopicPartition("facts", 0): int(self._random.integers(10**9))})

    def is_quiet(self) -> bool:
        """Whether twenty minutes as usual raise nothing."""
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
    """The metrics say so while it lasts and a minute longer; each change says why in words with numbers."""
    worker = Worker()
    assert worker.is_quiet()
    began = [change for _ in range(30) for change in worker.works(**fault)]  # type: ignore[arg-type]
    assert {change.signal for change in began} == signals
    assert all(change.begins and change.score > 1 and any(sign.isdigit() for sign in change.why) for change in began)
    page = worker.metrics.expose()[0].decode()
    for signal in worker.watch._detectors.active:
        assert f'surgetank_anomaly{{signal="{signal}"}} {float(signal in signals)}' in page
    ended = [change for _ in range(60) for change in worker.works()]
    assert {change.signal for change in ended if not change.begins} == signals
    assert not any(worker.watch._detectors.active.values())


class Broken(AnomalyMonitor):
    """A watch whose looks fail."""

    def look(self, ends: object) -> list[AlarmChange]:
        """Fail."""
        raise RuntimeError("broken")


class Told(TimelineReporter):
    """A story that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def anomaly(self, signal: str, *, begins: bool, score: float, why: str) -> None:
        """Keep an anomaly."""
        self.lines.append(f"{signal} {begins}")

    def opened(self, partitions: object) -> None:
        """Keep what was opened."""
        self.lines.append(f"opened {sorted(partitions)}")  # type: ignore[call-overload]

    def rebalanced(self, change: str, partitions: object) -> None:
        """Keep a rebalance."""
        self.lines.append(f"{change} {partitions}")


@pytest.fixture
def told() -> Told:
    """Return a story that keeps what it is told."""
    return Told()


def test_an_anomaly_is_logged_with_its_reason_and_told(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """A warning when it begins; tasks that were opened since the last look are told together."""
    worker = Worker()
    assert worker.is_quiet()
    witness = WorkerListener(worker.watch, told)
    witness.moved("gained", [0, 1])
    witness.moved("opened", [1])
    witness.moved("opened", [0])
    with caplog.at_level(logging.INFO):
        for number in range(30):
            worker.clock.seconds += 2
            witness.looked({SOURCE: 120_000 + 2000 * number})
    assert told.lines == ["gained [0, 1]", "opened [0, 1]", "arrival_rate True"]
    (record,) = [record for record in caplog.records if record.getMessage() == "anomaly_begins"]
    assert record.levelname == "WARNING"
    assert "events/s arrive" in record.__dict__["fields"]["why"]


def test_a_look_that_fails_is_logged_and_goes_no_further(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """The monitor's thread, which also watches over the work, lives on."""
    witness = WorkerListener(Broken("t", (), Metrics(), SteppedClock()), told)
    witness.looked({})
    assert "a look at what is unusual failed" in caplog.text
