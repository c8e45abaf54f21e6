"""Are the features that a worker computed those of the offline query? Value by value, event by event.

What is counted, kept, chosen or of the event itself must be the same to the last bit. What is summed up may differ in
the last digits, for the order of a sum is not the same in both: by ``RELATIVE`` of the greater of the two. What is
missing must be so in both. A skew that this finds is one between training and serving.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.row_layout import AggregateKind
from pipeline.features.spec import Float64s, Input
from pipeline.features.tables import Aggregate

Bools = npt.NDArray[np.bool_]

RELATIVE = 1e-9
_SUMMED = frozenset({AggregateKind.SUM, AggregateKind.MEAN, AggregateKind.STD})
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Computed:
    """The features of n events: ``ids`` names each, ``values`` is float64 [n, F], NaN where one is missing.

    A name may be an event id, or a position; whatever it is, it must be that of one event.
    """

    ids: pa.Array
    values: Float64s

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Skew:
    """One feature: how many values differ, and by how much relative to the greater at worst, where both are there.

    ``known`` values are there on both sides. ``examples`` tells of some that differ: the event, the value online and
    the value offline.
    """

    name: str
    known: int
    differing: int
    worst: float
    examples: list[str]


@dataclass(frozen=True, slots=True)
class SkewReport:
    """``events`` were compared; the others were computed on one side only."""

    events: int
    only_online: int
    only_offline: int
    features: tuple[Skew, ...]

    @property
    def ok(self) -> bool:
        """Whether there was something to compare, all of it on both sides, and nothing differs."""
        whole = self.events > 0 and not self.only_online and not self.only_offline
        return whole and not any(each.differing for each in self.features)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def compare(features: Sequence[Input], online: Computed, offline: Computed) -> SkewReport:
    """Compare what was computed twice, F features each, the events in any order.

    Raises ValueError if a name stands for two events, or the values are not as many as the features.
    """
    for side, computed in (("online", online), ("offline", offline)):
        if computed.values.shape != (len(computed.ids), len(features)):
            raise ValueError(
                f"{side}: values of shape {computed.values.shape} for {len(computed.ids):,} events and "
                f"{len(features)} features"
            )
        if pc.count_distinct(computed.ids, mode="all").as_py() < len(computed):
            raise ValueError(f"{side}: a name stands for two events; name them by their positions")
    place = pc.index_in(online.ids, offline.ids)
    both = place.is_valid().to_numpy(zero_copy_only=False)
    names = online.ids.filter(pa.array(both))
    ours = online.values[both]
    theirs = offline.values[place.drop_null().to_numpy()]
    return SkewReport(
        events=len(names),
        only_online=len(online) - len(names),
        only_offline=len(offline) - len(names),
        features=tuple(_skew(each, names, ours[:, column], theirs[:, column]) for column, each in enumerate(features)),
    )


def _skew(feature: Input, names: pa.Array, online: Float64s, offline: Float64s) -> Skew:
    known = ~(np.isnan(online) | np.isnan(offline))
    apart = np.abs(online - offline, where=known, out=np.zeros(len(online)))
    greater = np.maximum(np.abs(online), np.abs(offline))
    summed = isinstance(feature, Aggregate) and feature.kind in _SUMMED
    allowed = RELATIVE * greater if summed else np.zeros(len(online))
    differing: Bools = (np.isnan(online) != np.isnan(offline)) | (known & (apart > allowed))
    ratios = np.divide(apart, greater, where=known & (apart > 0), out=np.zeros(len(online)))
    rows = np.flatnonzero(differing)[:_EXAMPLES].tolist()
    return Skew(
        name=feature.name,
        known=int(known.sum()),
        differing=int(differing.sum()),
        worst=float(ratios.max(initial=0.0)),
        examples=[f"{names[row]}: online {online[row].item()!r}, offline {offline[row].item()!r}" for row in rows],
    )
