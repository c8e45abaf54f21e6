"""Real-time machine-learning inference on Kafka, exactly once: the names that a pipeline's file needs."""

from surgetank.declaration import Events, Pipeline, Scores
from surgetank.features.columns import Category, DayOfWeek, Elapsed, Field, HourOfDay, Month
from surgetank.features.spec import Feature
from surgetank.features.tables import Table, days, hours, minutes, seconds

__all__ = [
    "Category",
    "DayOfWeek",
    "Elapsed",
    "Events",
    "Feature",
    "Field",
    "HourOfDay",
    "Month",
    "Pipeline",
    "Scores",
    "Table",
    "days",
    "hours",
    "minutes",
    "seconds",
]
