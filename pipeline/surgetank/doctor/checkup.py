"""The checks of `surgetank doctor`, in their order: the machine, the declaration, the registry, then Kafka."""

import sys
from collections.abc import Iterator
from pathlib import Path

from surgetank.codec.schema_registry import RegistryUnavailableError
from surgetank.declaration import Pipeline
from surgetank.doctor import cluster, machine, probes, registry
from surgetank.doctor.finding import CheckFinding, ok, problem, skipped
from surgetank.errors import BrokerError, SchemaError, SettingsError, StartupError
from surgetank.kafka import provisioning
from surgetank.kafka.access_rights import Operation, Resource, rights
from surgetank.kafka.authorized_operations import authorized_operations, broker_settings
from surgetank.settings import Settings
from surgetank.worker.processing_parts import check_declaration


def machine_findings(settings: Settings) -> Iterator[CheckFinding]:
    """Yield what is found of this machine."""
    telemetry, folder = settings.telemetry, settings.state.folder
    yield machine.python(sys.version_info[:2])
    yield machine.java(*probes.java_version())
    yield machine.kafka_jars(*probes.source_of_jars())
    error = probes.bind_error(telemetry.host, telemetry.port) if telemetry.port else None
    yield machine.port(telemetry.host, telemetry.port, error)
    free, writable = probes.free_bytes(folder)
    yield machine.disk(str(folder), free, writable=writable)


def declaration_findings(pipeline: Pipeline, settings: Settings, models: Path) -> Iterator[CheckFinding]:
    """Yield whether the schemas and the model of a pipeline load. ``models``: its bundles, unless set otherwise."""
    try:
        model = check_declaration(pipeline, settings, models)
    except StartupError as error:
        yield problem("model", str(error), "correct the declaration, the schemas, or settings model.* and schemas.*")
    else:
        yield ok("model", f"{model.name} {model.version} and the schemas fit pipeline {pipeline.name!r}")


def registry_findings(pipeline: Pipeline, settings: Settings) -> Iterator[CheckFinding]:
    """Yield whether the schema registry answers, and has the schemas of the topics; nothing if none is set."""
    url = settings.schema_registry.url
    if not url:
        return
    try:
        planned = probes.registered_subjects(pipeline, settings)
    except (RegistryUnavailableError, SettingsError) as error:
        yield registry.unavailable(url, str(error))
    except SchemaError as error:
        yield skipped("registry", str(error))
    else:
        yield registry.subjects(pipeline.name, url, planned)


def kafka_findings(settings: Settings, pipeline: Pipeline | None) -> Iterator[CheckFinding]:
    """Yield what is found of Kafka, and of the topics of a pipeline, its rights, and the clock."""
    kafka = settings.kafka
    try:
        brokers, broker = broker_settings(kafka)
        yield cluster.kafka(kafka.bootstrap, brokers, broker)
        if pipeline is None:
            yield skipped("topics", "name a pipeline: surgetank doctor PIPELINE")
            return
        yield from _pipeline_findings(settings, pipeline)
    except BrokerError as error:
        yield problem("kafka", str(error), "start the brokers, or set kafka.bootstrap and kafka.client.*")


def _pipeline_findings(settings: Settings, pipeline: Pipeline) -> Iterator[CheckFinding]:
    kafka, recording = settings.kafka, settings.features.record
    have = provisioning.existing(kafka)
    needed = provisioning.needed(pipeline, recording=recording)
    hidden = provisioning.hidden(kafka, [spec.name for spec in needed if spec.name not in have])
    yield cluster.topics(pipeline.name, provisioning.problems(pipeline, have, recording=recording, hidden=hidden))
    there = [spec.name for spec in needed if spec.name in have]
    told = authorized_operations(kafka, there, pipeline.group)
    required = required_rights(pipeline, recording=recording)
    yield cluster.rights({resource: needs for resource, needs in required.items() if resource in told}, told)
    yield machine.clock(probes.brokers_clock(kafka, pipeline) if pipeline.timeline in have else None)


def required_rights(pipeline: Pipeline, *, recording: bool) -> dict[str, set[str]]:
    """Return the rights that a worker needs on topics and group, by resource as in ``authorized_operations``. Pure.

    Describe is among them: Read and Write imply it, unless a rule denies it.
    """
    return {
        f"{resource} {name}": {Operation.DESCRIBE.name, *(each.name for each in operations)}
        for resource, name, operations, _ in rights(pipeline, "worker", recording=recording)
        if resource in (Resource.TOPIC, Resource.GROUP)
    }
