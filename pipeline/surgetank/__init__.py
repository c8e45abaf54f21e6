"""Real-time machine-learning inference on Kafka, exactly once: the names that a pipeline's file needs."""

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
