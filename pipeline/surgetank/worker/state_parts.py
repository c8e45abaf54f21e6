"""Builds the state of a worker: its directory, its tables and their signatures, and the lookup by key."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from surgetank.clock import Clock
from surgetank.declaration import Pipeline
from surgetank.errors import SettingsError, StateError
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.lookup import StateLookup
from surgetank.http.peers import PeerAddresses
from surgetank.kafka import provisioning
from surgetank.kafka.retry import retry_until_available
from surgetank.migration.partition_history import unmoved_keys
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.settings import Settings
from surgetank.state.predictions import encode_version
from surgetank.state.state_directory import StateDirectory
from surgetank.state.state_manager import StateManager
from surgetank.state.state_spec import StateSpec
from surgetank.state.store_identity import TableSignature
from surgetank.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from surgetank.processing.stateful_features import StatefulFeatures

log = logging.getLogger(__name__)


def stateful_parts(
    pipeline: Pipeline,
    settings: Settings,
    *,
    topic_ids: Mapping[str, str],
    model_version: str,
    metrics: Metrics,
    warnings: RecordWarnings,
    clock: Clock,
) -> "tuple[StateManager | None, StatefulFeatures | None]":
    """Return the state manager and the stateful features of a worker; None and None for a pipeline without tables.

    ``topic_ids`` are the ids of the changelogs. Raises StartupError if the state directory cannot be used, or tables
    cannot store ``model_version``.
    """
    if not pipeline.changelogs:
        return None, None
    encode_version(model_version)
    from surgetank.processing.stateful_features import StatefulFeatures  # compiled code takes a second to load

    cluster, partitions = retry_until_available(lambda: provisioning.anchor(settings.kafka, pipeline), clock)
    directory = state_directory(settings.state.folder / cluster / pipeline.name, settings.worker.name)
    stores = StateManager(directory, state_spec(pipeline, partitions, topic_ids), settings.state.memory_mib)
    log.info("state of pipeline %s is kept in %s", pipeline.name, directory.folder)
    stateful = StatefulFeatures(pipeline, stores, settings.state, metrics=metrics, warnings=warnings)
    return stores, stateful


def state_directory(base: Path, worker: str) -> StateDirectory:
    """Return the locked folder of a worker. Raises SettingsError if it is in use or cannot be used."""
    try:
        return StateDirectory(base, worker)
    except StateError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"state.directory: {base} cannot be used: {error.strerror}") from None


def state_spec(pipeline: Pipeline, partitions: int, topic_ids: Mapping[str, str]) -> StateSpec:
    """Return the state spec of a pipeline with ``partitions`` event partitions and these ids of its changelogs."""
    from surgetank.processing.stateful_features import row_serdes

    serdes, signatures = row_serdes(pipeline)
    # The topic id distinguishes state of a changelog that was deleted and recreated, as by `surgetank state reset`.
    of_topics = {
        table: TableSignature(signature.size, f"{signature.fingerprint}@{topic_ids[pipeline.changelogs[table]]}")
        for table, signature in signatures.items()
    }
    fingerprints = {table: signature.fingerprint for table, signature in signatures.items()}
    sources = dict.fromkeys(signatures, pipeline.events.topic)  # predictions belong to events
    sources |= {state.table.name: pipeline.updating_events(state).topic for state in pipeline.table_states}
    return StateSpec(
        pipeline.name, partitions, serdes, of_topics, pipeline.changelogs, fingerprints, sources, unmoved_keys
    )


def state_lookup(
    pipeline: Pipeline,
    settings: Settings,
    stores: StateManager,
    *,
    address: str,
    security: EndpointSecurity,
    clock: Clock,
) -> StateLookup:
    """Return the HTTP lookup of state by key."""
    spec, topic = stores.spec, pipeline.events.topic
    return StateLookup(
        pipeline,
        spec.serdes,
        stores,
        partitions=spec.partitions,
        me=address,
        peers=PeerAddresses(settings.kafka, pipeline.group, topic, spec.partitions, clock),
        security=security,
        clock=clock,
    )
