"""Which series exist: those of the worker's page and of the exporter's, and what Prometheus adds by itself."""

import re
from collections.abc import Collection, Mapping
from functools import cache

from pipeline.telemetry.catalogue import Catalogue
from pipeline.telemetry.groups import GroupMetrics
from pipeline.telemetry.metrics import Metrics

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
SCRAPED = frozenset({"job", "instance"})
# What prometheus_client adds to each page, and Prometheus to each target.
GIVEN = ("up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"(?<![\w:$])(?:up|(?:surgetank|process|python)[_:][\w:]*)(?![\w:])")
_SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


class UnknownSeries(Exception):  # noqa: N818 - it says what is wrong
    """An expression names a series or a label that nothing exposes."""


@cache
def declared() -> Mapping[str, frozenset[str]]:
    """Return the name of every series that a page of ours has, with the labels that it can have."""
    pages: tuple[Catalogue, ...] = (Metrics(), GroupMetrics())
    found = {
        metric.name + suffix: frozenset(label.name for label in metric.labels)
        | (frozenset({"le"}) if suffix == "_bucket" else frozenset())
        for page in pages
        for metric in page
        for suffix in SUFFIXES[metric.kind]
    }
    return found | dict.fromkeys(GIVEN, frozenset())


def named(expression: str) -> list[str]:
    """Return the names of ours in an expression."""
    return _NAME.findall(_TEXT.sub('""', expression))


def check(expression: str, recorded: Collection[str] = ()) -> None:
    """Raise UnknownSeries if an expression names a series or selects by a label that there is not.

    ``recorded`` are the names of recording rules; their labels are not looked at.
    """
    known = declared()
    for name in named(expression):
        if name not in known and name not in recorded:
            raise UnknownSeries(f"no metric is called {name!r} in: {expression}")
    for name, selector in _SELECTED.findall(_TEXT.sub('""', expression)):
        for label in _LABEL.findall(selector):
            if name in known and label not in known[name] | SCRAPED:
                raise UnknownSeries(f"metric {name!r} has no label {label!r} in: {expression}")
