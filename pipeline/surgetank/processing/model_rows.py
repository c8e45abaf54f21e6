"""Counts the rows that each version of a model has scored."""

import numpy as np

from surgetank.records import ModelVersion
from surgetank.scored_rows import ScoredRows
from surgetank.telemetry.metrics import VERSIONS_COUNTED, Metrics


class ModelRows:
    """Counts by version. For the thread that scores.

    A worker may serve any number of versions one after the other: the counts of the version that was first used longest
    ago are removed for a new one.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._rows = metrics.model_rows
        self._known: dict[ModelVersion, None] = {}

    def count(self, scored: ScoredRows) -> None:
        """Count the rows of a batch."""
        for number, model in enumerate(scored.models):
            if model not in self._known:
                self._admit(model)
            name, version = model
            alone = len(scored.models) == 1
            rows = len(scored.kept) if alone else int(np.count_nonzero(scored.model == number))
            self._rows.add(rows, model=name, version=version, outcome="scored")
            if scored.failed and scored.failed[number]:
                self._rows.add(scored.failed[number], model=name, version=version, outcome="failed")

    def _admit(self, model: ModelVersion) -> None:
        if len(self._known) == VERSIONS_COUNTED:
            oldest = next(iter(self._known))
            del self._known[oldest]
            for outcome in ("scored", "failed"):
                self._rows.remove(model=oldest.name, version=oldest.version, outcome=outcome)
        self._known[model] = None
