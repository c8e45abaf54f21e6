"""The base of the metric catalogues: iteration over the declared metrics, and exposition."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from surgetank.telemetry.kinds import Gauge, Metric


class Catalogue:
    """Base of a catalogue: a subclass sets its metrics as attributes, then calls this constructor.

    ``refresh`` is called before each exposition; set it to update metrics that are computed at the scrape.
    """

    ready: Gauge

    def __init__(self) -> None:
        self.refresh: Callable[[], None] = lambda: None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_CatalogueCollector(self))
        ProcessCollector(registry=self.registry)  # process_cpu_seconds_total, process_resident_memory_bytes, ...
        PlatformCollector(registry=self.registry)

    def __iter__(self) -> Iterator[Metric[Any]]:
        """Yield every declared metric."""
        return (metric for metric in vars(self).values() if isinstance(metric, Metric))

    def library_metrics(self) -> Iterator[Metric[Any]]:
        """Yield the metrics that prometheus_client renders; a subclass may render others itself."""
        return iter(self)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics page and its content type for a scraper's Accept header."""
        self.refresh()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _CatalogueCollector(Collector):
    """Provides the metrics of a catalogue to prometheus_client."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def collect(self) -> Iterator[Family]:
        return (metric.family() for metric in self._catalogue.library_metrics())

    def describe(self) -> Iterator[Family]:
        return self.collect()
