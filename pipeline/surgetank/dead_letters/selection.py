"""Which dead letters a person asks for."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that all hold; an empty one always holds. Times have a zone; ``until`` is exclusive."""

    reasons: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    source_topic: str | None = None
    source_partition: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def mask(self, letters: pa.RecordBatch) -> pa.BooleanArray:
        """Return bool [n], none null: which of n letters (``letters.SCHEMA``) are meant.

        A record that is no dead letter of a pipeline is meant only without conditions.
        """
        mask = pa.array([True] * len(letters)) if self == Selection() else pc.is_valid(letters["reason"])
        if self.reasons:
            mask = pc.and_(mask, pc.is_in(letters["reason"], pa.array(self.reasons, pa.large_string())))
        if self.stages:
            mask = pc.and_(mask, pc.is_in(letters["stage"], pa.array(self.stages, pa.large_string())))
        if self.source_topic is not None:
            mask = pc.and_(mask, pc.equal(letters["source_topic"], self.source_topic))
        if self.source_partition is not None:
            mask = pc.and_(mask, pc.equal(letters["source_partition"], self.source_partition))
        if self.since is not None:
            mask = pc.and_(mask, pc.greater_equal(letters["time"], pa.scalar(self.since, letters["time"].type)))
        if self.until is not None:
            mask = pc.and_(mask, pc.less(letters["time"], pa.scalar(self.until, letters["time"].type)))
        return pc.fill_null(mask, False)
