"""Counter, gauge and histogram with bounded label values and batch observations.

Values are stored here and passed to prometheus_client at a scrape. Its own Histogram observes one value at a time, and
its label sets are unbounded.
"""

import math
import re
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from surgetank.errors import SurgetankError

PREFIX = "surgetank"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Value = TypeVar("Value")
LabelValue = str | int
Key = TypeVar("Key", bound=tuple[LabelValue, ...])


class MetricError(SurgetankError):
    """Labels or a value that the declaration of the metric does not allow; a bug in the calling code."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a metric and its allowed values.

    Either ``values`` lists all allowed values, or ``shape`` is a regular expression for a whole value and ``bound`` the
    maximum number of different values that a metric holds at a time. An unbounded value, such as an event key, cannot
    be a label.
    """

    name: str
    values: frozenset[str] = frozenset()
    shape: str = ""
    bound: int = 0

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.shape and self.bound):
            raise MetricError(f"label {self.name!r}: declare either its values, or its shape and its bound")

    def rejection(self, value: str) -> str:
        """Return why ``value`` is not allowed, '' if it is allowed."""
        if self.values:
            return "" if value in self.values else f"it must be one of {', '.join(sorted(self.values))}"
        return "" if re.fullmatch(self.shape, value) else f"it must match {self.shape}"


class Metric(ABC, Generic[Value]):
    """Base of the kinds: a name ``surgetank_<name>[_<unit>]``, a help text, and one value per label set.

    Thread-safe. A label set is created by the first write and removed by ``remove``. If all labels list their values,
    all label sets exist from the start with 0, because an alert on an increase does not see a series that starts at 1.
    """

    kind: str

    def __init__(self, name: str, help: str, labels: Sequence[Label] = (), *, unit: str = "") -> None:  # noqa: A002 - the name in prometheus_client
        if not _NAME.fullmatch(name) or (unit and not _NAME.fullmatch(unit)):
            raise MetricError(f"metric {name!r}, unit {unit!r}: use lower-case words joined by '_'")
        if not help:
            raise MetricError(f"metric {name!r}: it needs a help text")
        self.name = "_".join(part for part in (PREFIX, name, unit) if part)
        self.help = help
        self.unit = unit
        self.labels = tuple(labels)
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], Value] = {}
        for key in product(*(sorted(label.values) for label in self.labels)):
            self._series[key] = self._zero()

    @abstractmethod
    def _zero(self) -> Value:
        """Return the initial value of a label set."""

    @abstractmethod
    def family(self) -> Family:
        """Return the samples of all label sets, for exposition."""

    def remove(self, **labels: LabelValue) -> None:
        """Remove one label set, for example of a revoked partition; do nothing if it does not exist."""
        key = self._key(labels)
        with self._lock:
            self._series.pop(key, None)

    def _key(self, labels: Mapping[str, LabelValue]) -> tuple[str, ...]:
        try:
            key = tuple(str(labels[label.name]) for label in self.labels)
        except KeyError:
            key = ()
        if len(key) != len(labels) or len(key) != len(self.labels):
            raise MetricError(
                f"metric {self.name}: labels given: {', '.join(labels) or 'none'}; "
                f"declared: {', '.join(label.name for label in self.labels) or 'none'}"
            )
        return key

    def _value_at(self, key: tuple[str, ...]) -> Value:
        """Return the value of ``key``; check and create it if it is new. The caller holds the lock."""
        found = self._series.get(key)
        if found is None:
            self._check([key], [key, *self._series])
            found = self._series[key] = self._zero()
        return found

    def _check(self, new: Iterable[tuple[str, ...]], all_keys: Collection[tuple[str, ...]]) -> None:
        """Raise MetricError if a new key is not allowed, or all keys exceed the bound of a label."""
        for position, label in enumerate(self.labels):
            for key in new:
                if rejection := label.rejection(key[position]):
                    shown = key[position][:80]
                    raise MetricError(f"metric {self.name}: {label.name}={shown!r} is not allowed: {rejection}")
            if label.bound and (distinct := len({key[position] for key in all_keys})) > label.bound:
                raise MetricError(
                    f"metric {self.name}: {distinct} values of label {label.name}; its bound is {label.bound}"
                )

    def _label_names(self) -> list[str]:
        return [label.name for label in self.labels]


class _Number(Metric[float]):
    """Base of the kinds with one number per label set. ``family_type`` is the kind in prometheus_client."""

    family_type: type[CounterMetricFamily] | type[GaugeMetricFamily]

    def add(self, amount: float, **labels: LabelValue) -> None:
        """Change the value by ``amount``, which may be negative."""
        key = self._key(labels)
        with self._lock:
            self._series[key] = self._value_at(key) + amount

    def _zero(self) -> float:
        return 0.0

    def family(self) -> Family:
        """Return the samples of all label sets; the name of a counter gets ``_total``."""
        family = self.family_type(self.name, self.help, labels=self._label_names(), unit=self.unit)
        with self._lock:
            for key, value in self._series.items():
                family.add_metric(key, value)
        return family


class Counter(_Number):
    """A value that only increases."""

    kind = "counter"
    family_type = CounterMetricFamily

    def add(self, amount: float = 1, **labels: LabelValue) -> None:
        """Add ``amount``, 0 or more. Adding 0 makes the label set visible."""
        if not amount >= 0:
            raise MetricError(f"metric {self.name}: a counter cannot decrease; {amount} was added")
        super().add(amount, **labels)

    def value(self, **labels: LabelValue) -> float:
        """Return the count; 0 if nothing was ever added."""
        return self._series.get(self._key(labels), 0.0)

    @property
    def total(self) -> float:
        """Return the sum over all label sets."""
        with self._lock:
            return sum(self._series.values())


class Gauge(_Number):
    """A value that can increase and decrease."""

    kind = "gauge"
    family_type = GaugeMetricFamily

    def set(self, value: float, **labels: LabelValue) -> None:
        """Set the value."""
        key = self._key(labels)
        with self._lock:
            self._value_at(key)  # only to check a new label set
            self._series[key] = float(value)

    def replace(self, values: Mapping[Key, float]) -> None:
        """Set all label sets at once, keys in the order of the declared labels; other label sets are removed.

        Use it for values that are measured together, such as the lag of the owned partitions, to keep no stale value.
        """
        # Keys of strings are not copied, because many metrics may share a hundred thousand of them.
        new: dict[tuple[str, ...], float] = {
            cast("tuple[str, ...]", key) if all(type(part) is str for part in key) else tuple(map(str, key)): float(
                value
            )
            for key, value in values.items()
        }
        if wrong := [key for key in new if len(key) != len(self.labels)]:
            raise MetricError(f"metric {self.name}: {wrong[0]} does not have a value for each label")
        with self._lock:
            self._check(new.keys() - self._series.keys(), new)
            self._series = new

    def value(self, **labels: LabelValue) -> float | None:
        """Return the value, or None if it was never set or was removed."""
        return self._series.get(self._key(labels))

    def values(self) -> dict[tuple[str, ...], float]:
        """Return every label set with its value."""
        with self._lock:
            return dict(self._series)


class Histogram(Metric[npt.NDArray[np.float64]]):
    """A distribution of values over buckets.

    ``buckets`` are the ascending inclusive upper bounds; the unbounded bucket is added. The value of a label set is
    float64 [buckets + 2]: a count per bucket (not cumulative), the count above the last bound, and the sum.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - the name in prometheus_client
        labels: Sequence[Label] = (),
        *,
        buckets: Sequence[float],
        unit: str = "",
    ) -> None:
        self.buckets = np.asarray(buckets, dtype=np.float64)
        if not len(buckets) or not np.isfinite(self.buckets).all() or (np.diff(self.buckets) <= 0).any():
            raise MetricError(f"metric {name!r}: buckets must be finite and ascend")
        self._bounds = self.buckets.tolist()
        super().__init__(name, help, labels, unit=unit)

    def observe(self, value: float, **labels: LabelValue) -> None:
        """Observe one value, as ``observe_many`` does."""
        value = max(value, 0.0)
        if not math.isfinite(value):
            raise MetricError(f"metric {self.name}: values must be finite")
        key = self._key(labels)
        with self._lock:
            series = self._value_at(key)
            series[bisect_left(self._bounds, value)] += 1
            series[-1] += value

    def observe_many(self, values: npt.NDArray[np.float64], **labels: LabelValue) -> None:
        """Observe a column of values, float64 [n].

        Negative values count as 0, because clocks of two machines differ slightly. Raises MetricError if not finite.
        """
        values = np.maximum(values, 0.0)
        total = float(values.sum())
        if not np.isfinite(total):
            raise MetricError(f"metric {self.name}: values must be finite")
        # side="left": a value equal to a bound counts in its bucket, as required by Prometheus' "le".
        which = np.searchsorted(self.buckets, values, side="left")
        counts = np.bincount(which, minlength=len(self.buckets) + 1)
        key = self._key(labels)
        with self._lock:
            series = self._value_at(key)
            series[:-1] += counts
            series[-1] += total

    def count(self, **labels: LabelValue) -> int:
        """Return the number of observed values."""
        found = self._series.get(self._key(labels))
        return 0 if found is None else int(found[:-1].sum())

    def counts(self, **labels: LabelValue) -> npt.NDArray[np.float64]:
        """Return the counts per bucket, not cumulative, and above the last bound: float64 [buckets + 1]."""
        with self._lock:
            found = self._series.get(self._key(labels))
            return self._zero()[:-1] if found is None else found[:-1].copy()

    def _zero(self) -> npt.NDArray[np.float64]:
        return np.zeros(len(self.buckets) + 2)

    def family(self) -> Family:
        """Return the samples of all label sets, with the cumulative buckets of Prometheus."""
        family = HistogramMetricFamily(self.name, self.help, labels=self._label_names(), unit=self.unit)
        bounds = [str(bound) for bound in self.buckets.tolist()] + ["+Inf"]
        with self._lock:
            for key, series in self._series.items():
                cumulative = np.cumsum(series[:-1]).tolist()
                family.add_metric(key, list(zip(bounds, cumulative, strict=True)), sum_value=float(series[-1]))
        return family
