"""Compares the features that a worker computed with those of the offline query, value by value.

Counts, minima, maxima, last values and stateless features must be equal bit by bit. Sums, means and deviations may
differ by ``RELATIVE`` of the greater value, because the order of summation differs. Missing values must be missing on
both sides. A difference is skew between training and serving.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.features.spec import Float64s, Input
from surgetank.features.tables import Aggregate

Bools = npt.NDArray[np.bool_]

RELATIVE = 1e-9
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ComputedFeatures:
    """The features of n events: ``ids`` identifies each, ``values`` is float64 [n, F], NaN for missing values.

    An id may be an event id or a position; it must be unique.
    """

    ids: pa.Array
    values: Float64s

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Skew:
    """The comparison of one feature: the number of differing values, and the greatest relative difference.

    ``known`` counts the values present on both sides. ``examples`` lists some differing values: the event, the online
    value and the offline value.
    """

    name: str
    known: int
    differing: int
    worst: float
    examples: list[str]


@dataclass(frozen=True, slots=True)
class SkewReport:
    """The comparison of all features. ``events`` were compared; the others were computed on one side only."""

    events: int
    only_online: int
    only_offline: int
    features: tuple[Skew, ...]

    @property
    def ok(self) -> bool:
        """Whether events were compared, all of them exist on both sides, and no value differs."""
        whole = self.events > 0 and not self.only_online and not self.only_offline
        return whole and not any(each.differing for each in self.features)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def compare(features: Sequence[Input], online: ComputedFeatures, offline: ComputedFeatures) -> SkewReport:
    """Compare two computations of F features each, with the events in any order.

    Raises ValueError if an id is not unique, or the number of values is not that of the features.
    """
    for side, computed in (("online", online), ("offline", offline)):
        if computed.values.shape != (len(computed.ids), len(features)):
            raise ValueError(
                f"{side}: values of shape {computed.values.shape} for {len(computed.ids):,} events and "
                f"{len(features)} features"
            )
        if pc.count_distinct(computed.ids, mode="all").as_py() < len(computed):
            raise ValueError(f"{side}: two events have the same id; identify them by their positions")
    matches = pc.index_in(online.ids, offline.ids)
    both = matches.is_valid().to_numpy(zero_copy_only=False)
    ids = online.ids.filter(pa.array(both))
    ours = online.values[both]
    theirs = offline.values[matches.drop_null().to_numpy()]
    return SkewReport(
        events=len(ids),
        only_online=len(online) - len(ids),
        only_offline=len(offline) - len(ids),
        features=tuple(_skew(each, ids, ours[:, column], theirs[:, column]) for column, each in enumerate(features)),
    )


def _skew(feature: Input, ids: pa.Array, online: Float64s, offline: Float64s) -> Skew:
    known = ~(np.isnan(online) | np.isnan(offline))
    apart = np.abs(online - offline, where=known, out=np.zeros(len(online)))
    greater = np.maximum(np.abs(online), np.abs(offline))
    exact = not isinstance(feature, Aggregate) or feature.kind.exact
    allowed = np.zeros(len(online)) if exact else RELATIVE * greater
    differing: Bools = (np.isnan(online) != np.isnan(offline)) | (known & (apart > allowed))
    ratios = np.divide(apart, greater, where=known & (apart > 0), out=np.zeros(len(online)))
    rows = np.flatnonzero(differing)[:_EXAMPLES].tolist()
    return Skew(
        name=feature.name,
        known=int(known.sum()),
        differing=int(differing.sum()),
        worst=float(ratios.max(initial=0.0)),
        examples=[f"{ids[row]}: online {online[row].item()!r}, offline {offline[row].item()!r}" for row in rows],
    )
