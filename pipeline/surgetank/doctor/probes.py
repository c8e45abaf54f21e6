"""Looks at this machine, at Kafka and at a schema registry; judges nothing."""

import os
import shutil
import socket
import threading
from pathlib import Path

from surgetank.clock import SystemClock
from surgetank.codec.schema_plan import PlannedSubject, plan, topic_schemas
from surgetank.codec.schema_registry import SchemaRegistry
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import Pipeline
from surgetank.doctor.machine import clock_difference
from surgetank.errors import StartupError
from surgetank.kafka.local import jars
from surgetank.kafka.local.java_runtime import find_java
from surgetank.kafka.local.kafka_versions import newest_java, preferred_version
from surgetank.kafka.local.maven_repository import maven_repository
from surgetank.settings import KafkaSettings, Settings
from surgetank.timeline.events import EventKind
from surgetank.timeline.writer import TimelineWriter

TIMELINE_SECONDS = 10.0


def java_version() -> tuple[str | None, str]:
    """Return the version of Java, or None and why there is none that fits."""
    try:
        return find_java(newest=newest_java(preferred_version())).version, ""
    except StartupError as error:
        return None, str(error)


def source_of_jars() -> tuple[str, str]:
    """Return the address from which Kafka's jars are downloaded, empty if they are here; or why there is none."""
    try:
        if any(jars.cache().glob(f"kafka-{preferred_version()}-*")):
            return "", ""
        return maven_repository().url, ""
    except StartupError as error:
        return "", str(error)


def bind_error(host: str, port: int) -> str | None:
    """Return why a port cannot be bound; None if it can."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return None
    except OSError as error:
        return error.strerror or str(error)


def free_bytes(folder: Path) -> tuple[int, bool]:
    """Return the free bytes of the disk of a folder, which need not exist, and whether it can be written or made."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free, os.access(there, os.W_OK | os.X_OK)


def registered_subjects(pipeline: Pipeline, settings: Settings) -> list[PlannedSubject]:
    """Return what the schema registry has of the schemas of a pipeline's topics.

    Raises RegistryUnavailableError, and SettingsError if its client is not installed.
    """
    contracts = project_schemas(settings.schemas.directory)
    wanted = topic_schemas(pipeline, contracts, recording=settings.features.record)
    return plan(SchemaRegistry(settings.schema_registry), wanted, None)


def brokers_clock(kafka: KafkaSettings, pipeline: Pipeline) -> float | None:
    """Return the seconds by which this clock is ahead of the brokers'; None if they do not tell.

    Writes an event to the timeline of the pipeline, whose topic must exist: brokers tell their time with a record.
    """
    clock, ended, found = SystemClock(), threading.Event(), list[float]()
    sent = clock.now()

    def appended(_: float, at_ms: int) -> None:
        found.append(clock_difference(sent, at_ms / 1000, clock.now()))

    writer = TimelineWriter(
        kafka,
        pipeline,
        who=f"doctor@{socket.gethostname()}",
        clock=clock,
        ended=lambda _: ended.set(),
        appended=appended,
    )
    writer.write(EventKind.OPERATOR_COMMAND, "doctor compared the clocks", {"command": "doctor"})
    ended.wait(TIMELINE_SECONDS)
    writer.close()
    return found[0] if found else None
