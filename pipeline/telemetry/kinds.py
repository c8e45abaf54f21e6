"""Counter, gauge and histogram: label values are bounded, and a batch costs as much as one observation.

Values are kept here and handed to prometheus_client when somebody scrapes. Its own Histogram takes one value
at a time, and its label sets grow without end; both are what this file is about.
"""

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from pipeline.errors import SurgetankError

PREFIX = "surgetank"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Value = TypeVar("Value")
LabelValue = str | int
Key = TypeVar("Key", bound=tuple[LabelValue, ...])


class MetricError(SurgetankError):
    """Labels or a value that the metric's declaration does not allow: a fault of the calling code."""


@dataclass(frozen=True, slots=True)
class Label:
    """One dimension of a metric and what it may hold.

    Either ``values`` lists all that are allowed, or ``shape`` is what one must look like as a whole (a
    regular expression) and ``bound`` how many different ones a metric holds at a time. What has no bound,
    such as the key of an event, can be no label.
    """

    name: str
    values: frozenset[str] = frozenset()
    shape: str = ""
    bound: int = 0

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.shape and self.bound):
            raise MetricError(f"label {self.name!r}: declare either its values, or its shape and its bound")

    def refusal(self, value: str) -> str:
        """Say why ``value`` is not allowed, or return '' if it is."""
        if self.values:
            return "" if value in self.values else f"it is one of {', '.join(sorted(self.values))}"
        return "" if re.fullmatch(self.shape, value) else f"it must match {self.shape}"


class Metric(ABC, Generic[Value]):
    """What the kinds share: a name ``surgetank_<name>[_<unit>]``, a help text, and one value per label set.

    Safe to use from any thread. A label set appears when it is first written to and vanishes by ``remove``.
    Where all labels list their values, all sets are there from the start, at 0: an alert on an increase would
    not see a series that begins at 1.
    """

    kind: str

    def __init__(self, name: str, help: str, labels: Sequence[Label] = (), *, unit: str = "") -> None:  # noqa: A002 - its name everywhere
        if not _NAME.fullmatch(name) or (unit and not _NAME.fullmatch(unit)):
            raise MetricError(f"metric {name!r} in {unit!r}: use lower-case words joined by '_'")
        if not help:
            raise MetricError(f"metric {name!r}: say in its help text what it tells")
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
        """Return what a new label set starts from."""

    @abstractmethod
    def family(self) -> Family:
        """Return the samples of all label sets, for exposition."""

    def remove(self, **labels: LabelValue) -> None:
        """Drop one label set, for example of a partition that was revoked; none is fine too."""
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

    def _at(self, key: tuple[str, ...]) -> Value:
        """Return the value of ``key``, checked and started if it is new. The caller holds the lock."""
        found = self._series.get(key)
        if found is None:
            self._check([key], [key, *self._series])
            found = self._series[key] = self._zero()
        return found

    def _check(self, fresh: Iterable[tuple[str, ...]], together: Collection[tuple[str, ...]]) -> None:
        """Raise MetricError if a fresh key is not allowed, or all keys together are over a label's bound."""
        for position, label in enumerate(self.labels):
            for key in fresh:
                if refusal := label.refusal(key[position]):
                    shown = key[position][:80]
                    raise MetricError(f"metric {self.name}: {label.name}={shown!r} is not allowed: {refusal}")
            if label.bound and (distinct := len({key[position] for key in together})) > label.bound:
                raise MetricError(
                    f"metric {self.name}: {distinct} values of label {label.name}; its bound is {label.bound}"
                )

    def _label_names(self) -> list[str]:
        return [label.name for label in self.labels]


class Counter(Metric[float]):
    """What only grows, until the process ends."""

    kind = "counter"

    def add(self, amount: float = 1, **labels: LabelValue) -> None:
        """Add ``amount``, 0 or more. Adding 0 makes the label set visible."""
        if not amount >= 0:
            raise MetricError(f"metric {self.name}: a counter grows; {amount} was added")
        key = self._key(labels)
        with self._lock:
            self._series[key] = self._at(key) + amount

    def value(self, **labels: LabelValue) -> float:
        """Return the count; 0 if nothing was ever added."""
        return self._series.get(self._key(labels), 0.0)

    @property
    def total(self) -> float:
        """The count of all label sets together."""
        with self._lock:
            return sum(self._series.values())

    def _zero(self) -> float:
        return 0.0

    def family(self) -> Family:
        """Return the samples of all label sets; the name gets ``_total``."""
        family = CounterMetricFamily(self.name, self.help, labels=self._label_names(), unit=self.unit)
        with self._lock:
            for key, value in self._series.items():
                family.add_metric(key, value)
        return family


class Gauge(Metric[float]):
    """What goes up and down."""

    kind = "gauge"

    def set(self, value: float, **labels: LabelValue) -> None:
        """Set the value."""
        key = self._key(labels)
        with self._lock:
            self._at(key)  # only to check a new label set
            self._series[key] = float(value)

    def add(self, amount: float, **labels: LabelValue) -> None:
        """Change the value by ``amount``, which may be negative."""
        key = self._key(labels)
        with self._lock:
            self._series[key] = self._at(key) + amount

    def replace(self, values: Mapping[Key, float]) -> None:
        """Set all label sets at once, in the order of the declared labels; those not named vanish.

        For what is measured as a whole, such as the lag of the partitions owned now: nothing stale can stay.
        """
        # Keys that are text already are kept as they are: a hundred thousand of them may be shared by many metrics.
        fresh: dict[tuple[str, ...], float] = {
            cast("tuple[str, ...]", key) if all(type(part) is str for part in key) else tuple(map(str, key)): float(
                value
            )
            for key, value in values.items()
        }
        if wrong := [key for key in fresh if len(key) != len(self.labels)]:
            raise MetricError(f"metric {self.name}: {wrong[0]} does not give a value for each of its labels")
        with self._lock:
            self._check(fresh.keys() - self._series.keys(), fresh)
            self._series = fresh

    def value(self, **labels: LabelValue) -> float | None:
        """Return the value, or None if it was never set or was removed."""
        return self._series.get(self._key(labels))

    def values(self) -> dict[tuple[str, ...], float]:
        """Return every label set with its value."""
        with self._lock:
            return dict(self._series)

    def _zero(self) -> float:
        return 0.0

    def family(self) -> Family:
        """Return the samples of all label sets."""
        family = GaugeMetricFamily(self.name, self.help, labels=self._label_names(), unit=self.unit)
        with self._lock:
            for key, value in self._series.items():
                family.add_metric(key, value)
        return family


class Histogram(Metric[npt.NDArray[np.float64]]):
    """How values are spread over buckets.

    ``buckets`` are the rising upper bounds, each inclusive; the one for infinity is added. The value of a
    label set is float64 [buckets + 2]: a count per bucket (not cumulated), the count beyond the last bound,
    the sum.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - its name everywhere
        labels: Sequence[Label] = (),
        *,
        buckets: Sequence[float],
        unit: str = "",
    ) -> None:
        self.buckets = np.asarray(buckets, dtype=np.float64)
        if not len(buckets) or not np.isfinite(self.buckets).all() or (np.diff(self.buckets) <= 0).any():
            raise MetricError(f"metric {name!r}: buckets must be finite and rise")
        super().__init__(name, help, labels, unit=unit)

    def observe(self, value: float, **labels: LabelValue) -> None:
        """Count one value."""
        self.observe_many(np.array([value], dtype=np.float64), **labels)

    def observe_many(self, values: npt.NDArray[np.float64], **labels: LabelValue) -> None:
        """Count a whole column, float64 [n].

        Negative values count as 0: the clocks of two machines differ a little.
        """
        values = np.maximum(values, 0.0)
        total = float(values.sum())
        if not np.isfinite(total):
            raise MetricError(f"metric {self.name}: values must be finite")
        # side="left": a value equal to a bound belongs below it, as Prometheus' "le" says.
        which = np.searchsorted(self.buckets, values, side="left")
        counts = np.bincount(which, minlength=len(self.buckets) + 1)
        key = self._key(labels)
        with self._lock:
            series = self._at(key)
            series[:-1] += counts
            series[-1] += total

    @contextmanager
    def time(self, **labels: LabelValue) -> Iterator[None]:
        """Count the seconds that the block takes, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - start, **labels)

    def count(self, **labels: LabelValue) -> int:
        """Return how many values were counted."""
        found = self._series.get(self._key(labels))
        return 0 if found is None else int(found[:-1].sum())

    def counts(self, **labels: LabelValue) -> npt.NDArray[np.float64]:
        """Return how many values each bucket counted, not cumulated, and the one beyond the last bound."""
        with self._lock:
            found = self._series.get(self._key(labels))
            return self._zero()[:-1] if found is None else found[:-1].copy()

    def _zero(self) -> npt.NDArray[np.float64]:
        return np.zeros(len(self.buckets) + 2)

    def family(self) -> Family:
        """Return the samples of all label sets, with cumulated buckets as Prometheus wants them."""
        family = HistogramMetricFamily(self.name, self.help, labels=self._label_names(), unit=self.unit)
        bounds = [str(bound) for bound in self.buckets.tolist()] + ["+Inf"]
        with self._lock:
            for key, series in self._series.items():
                cumulated = np.cumsum(series[:-1]).tolist()
                family.add_metric(key, list(zip(bounds, cumulated, strict=True)), sum_value=float(series[-1]))
        return family
