"""What the catalogues of metrics share: they list what they declare, and give the page for a scraper."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pipeline.telemetry.kinds import Gauge, Metric


class Catalogue:
    """Base of a catalogue: a subclass sets its metrics as attributes, then calls this constructor.

    ``refresh`` is called before a page is given, for what is only true of the moment it is asked; set it to use it.
    """

    ready: Gauge

    def __init__(self) -> None:
        self.refresh: Callable[[], None] = _nothing
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Declared(self))
        ProcessCollector(registry=self.registry)  # process_cpu_seconds_total, process_resident_memory_bytes, ...
        PlatformCollector(registry=self.registry)

    def __iter__(self) -> Iterator[Metric[Any]]:
        """Yield every declared metric."""
        return (metric for metric in vars(self).values() if isinstance(metric, Metric))

    def told_plainly(self) -> Iterator[Metric[Any]]:
        """Yield what prometheus_client writes; a subclass that writes some itself leaves them out."""
        return iter(self)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page for a scraper with this Accept header, and the content type of the page."""
        self.refresh()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def _nothing() -> None:
    """Do nothing before a page."""


class _Declared(Collector):
    """Hands the metrics to prometheus_client."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def collect(self) -> Iterator[Family]:
        return (metric.family() for metric in self._catalogue.told_plainly())

    def describe(self) -> Iterator[Family]:
        return self.collect()
