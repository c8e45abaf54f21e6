"""Settings: defaults, under surgetank.toml, under the environment, under flags. ``docs/settings.md`` lists them.

In the environment a setting is SURGETANK_<SECTION>__<NAME>; an empty variable counts as not set. An unknown name is
an error in every source. ``surgetank settings`` prints what is set, and by which source.
"""

from surgetank.settings.http_endpoints import HttpSettings
from surgetank.settings.loader import Setting, describe, load
from surgetank.settings.models import ModelSettings
from surgetank.settings.schema import (
    DeadLetterSettings,
    ExporterSettings,
    FeatureSettings,
    KafkaSettings,
    SchemaSettings,
    Settings,
    StateSettings,
    TelemetrySettings,
    WorkerSettings,
)
from surgetank.settings.schema_registry import SchemaRegistrySettings

__all__ = [
    "DeadLetterSettings",
    "ExporterSettings",
    "FeatureSettings",
    "HttpSettings",
    "KafkaSettings",
    "ModelSettings",
    "SchemaRegistrySettings",
    "SchemaSettings",
    "Setting",
    "Settings",
    "StateSettings",
    "TelemetrySettings",
    "WorkerSettings",
    "describe",
    "load",
]
