"""Detects anomalies of one worker from its metrics and from a sample of its inputs and scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.alarm import AlarmChange
from surgetank.anomalies.detectors import Detectors, WorkerObservation
from surgetank.anomalies.row_sample import RowSample
from surgetank.clock import Clock
from surgetank.records import TopicPartition
from surgetank.telemetry.metrics import Metrics


class AnomalyMonitor:
    """Evaluates all detectors of a worker. ``record`` is thread-safe; call ``evaluate`` from one thread.

    ``topic`` is the event topic whose arrival rate is monitored; ``inputs`` are the names of the model's inputs.
    """

    def __init__(self, topic: str, inputs: Sequence[str], metrics: Metrics, clock: Clock) -> None:
        self._topic = topic
        self._metrics = metrics
        self._clock = clock
        self._sample = RowSample(len(inputs))
        self._detectors = Detectors(inputs, metrics.end_to_end_seconds.buckets)
        self._counted = self._counts()

    def record(self, matrix: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> None:
        """Sample rows of a batch: ``matrix`` float32 [m, F] with NaN for missing values, ``scores`` float64 [m]."""
        self._sample.add(matrix, scores)

    def evaluate(self, ends: Mapping[TopicPartition, int]) -> list[AlarmChange]:
        """Evaluate the counts since the last call; ``ends`` are the log end offsets of owned partitions, if known."""
        before, self._counted = self._counted, self._counts()
        events, dead, latencies = (new - old for new, old in zip(self._counted, before, strict=True))
        rows, missing, scores = self._sample.take()
        changes = self._detectors.evaluate(
            WorkerObservation(
                now=self._clock.monotonic(),
                wall=self._clock.now(),
                ends={source: end for source, end in ends.items() if source.topic == self._topic},
                events=float(events.sum()),
                dead=float(dead.sum()),
                latencies=latencies,
                rows=rows,
                missing=missing,
                scores=scores,
            )
        )
        self._metrics.anomaly.replace({(signal,): on for signal, on in self._detectors.active.items()})
        self._metrics.anomaly_score.replace({(signal,): score for signal, score in self._detectors.scores.items()})
        return changes

    def _counts(self) -> tuple[npt.NDArray[np.float64], ...]:
        metrics = self._metrics
        return (
            np.array([metrics.events_received.total]),
            np.array([metrics.events_dead.total]),
            metrics.end_to_end_seconds.counts(),
        )
