"""Watches one worker: judges what it counts and what its flow leaves, every other second, in its monitor's thread."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.anomalies.alarm import AlarmChange
from pipeline.anomalies.detectors import BatchObservation, Detectors
from pipeline.anomalies.sample import ReservoirSample
from pipeline.clock import Clock
from pipeline.records import TopicPartition
from pipeline.telemetry.metrics import Metrics


class AnomalyMonitor:
    """``saw`` is for the flow, after each batch; ``look`` is for the monitor.

    ``topic`` is that of the events whose rate is watched; ``inputs`` names the model's inputs.
    """

    def __init__(self, topic: str, inputs: Sequence[str], metrics: Metrics, clock: Clock) -> None:
        self._topic = topic
        self._metrics = metrics
        self._clock = clock
        self._sample = ReservoirSample(len(inputs))
        self._detectors = Detectors(inputs, metrics.end_to_end_seconds.buckets)
        self._counted = self._counts()

    def saw(self, matrix: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> None:
        """Keep some rows of what the flow computed: float32 [m, F] with NaN for missing, and the scores."""
        self._sample.saw(matrix, scores)

    def look(self, ends: Mapping[TopicPartition, int]) -> list[AlarmChange]:
        """Judge what was counted since the last look; ``ends`` are the log ends of the owned partitions, if known."""
        before, self._counted = self._counted, self._counts()
        events, dead, latencies = (new - old for new, old in zip(self._counted, before, strict=True))
        rows, missing, scores = self._sample.take()
        changes = self._detectors.look(
            BatchObservation(
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
