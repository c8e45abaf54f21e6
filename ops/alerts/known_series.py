"""Checks expressions against the known series: those of workers and exporter, and those that Prometheus adds."""

import re
from collections.abc import Collection, Mapping
from functools import cache

from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.metrics import Metrics

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
TARGET_LABELS = frozenset({"job", "instance"})
# Added by prometheus_client to each page, and by Prometheus to each target.
BUILT_IN = ("up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"(?<![\w:$])(?:up|(?:surgetank|process|python)[_:][\w:]*)(?![\w:])")
_SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


class UnknownSeries(Exception):  # noqa: N818 - the name describes the error
    """An expression names a series or a label that is not exposed."""


@cache
def declared() -> Mapping[str, frozenset[str]]:
    """Return the name of every exposed series with its possible labels."""
    pages: tuple[Catalogue, ...] = (Metrics(), GroupMetrics())
    found = {
        metric.name + suffix: frozenset(label.name for label in metric.labels)
        | (frozenset({"le"}) if suffix == "_bucket" else frozenset())
        for page in pages
        for metric in page
        for suffix in SUFFIXES[metric.kind]
    }
    return found | dict.fromkeys(BUILT_IN, frozenset())


def names_in(expression: str) -> list[str]:
    """Return the names of our series in an expression."""
    return _NAME.findall(_TEXT.sub('""', expression))


def check(expression: str, recorded: Collection[str] = ()) -> None:
    """Raise UnknownSeries if an expression names an unknown series or selects by an unknown label.

    ``recorded`` are the names of recording rules; their labels are not checked.
    """
    known = declared()
    for name in names_in(expression):
        if name not in known and name not in recorded:
            raise UnknownSeries(f"no metric is called {name!r} in: {expression}")
    for name, selector in _SELECTED.findall(_TEXT.sub('""', expression)):
        for label in _LABEL.findall(selector):
            if name in known and label not in known[name] | TARGET_LABELS:
                raise UnknownSeries(f"metric {name!r} has no label {label!r} in: {expression}")
