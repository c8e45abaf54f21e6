"""Real-time machine-learning inference on Kafka, exactly once: the names that a pipeline's file needs.

They are imported at their first use: a command prints its first line before heavy modules are imported.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surgetank.declaration import Events, Pipeline, Scores
    from surgetank.features.arithmetic import Difference, Product, Ratio, Sum
    from surgetank.features.columns import Category, DayOfWeek, Elapsed, Field, HourOfDay, Month
    from surgetank.features.derived import Above, IsNull, Log1p
    from surgetank.features.spec import Feature
    from surgetank.features.tables import Table, days, hours, minutes, seconds

__all__ = [
    "Above",
    "Category",
    "DayOfWeek",
    "Difference",
    "Elapsed",
    "Events",
    "Feature",
    "Field",
    "HourOfDay",
    "IsNull",
    "Log1p",
    "Month",
    "Pipeline",
    "Product",
    "Ratio",
    "Scores",
    "Sum",
    "Table",
    "days",
    "hours",
    "minutes",
    "seconds",
]

_MODULES = {
    "surgetank.declaration": ("Events", "Pipeline", "Scores"),
    "surgetank.features.columns": ("Category", "DayOfWeek", "Elapsed", "Field", "HourOfDay", "Month"),
    "surgetank.features.arithmetic": ("Difference", "Product", "Ratio", "Sum"),
    "surgetank.features.derived": ("Above", "IsNull", "Log1p"),
    "surgetank.features.spec": ("Feature",),
    "surgetank.features.tables": ("Table", "days", "hours", "minutes", "seconds"),
}

if not TYPE_CHECKING:  # a type checker reports a name that is not imported above

    def __getattr__(name: str) -> object:
        """Return a public name, imported from its module. Raises AttributeError for any other name."""
        for module, names in _MODULES.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
