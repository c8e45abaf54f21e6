"""Builds the processing steps of a worker. Each function raises StartupError for an error of the setup."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from surgetank.clock import Clock
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import check_score_schema
from surgetank.declaration import Events, Pipeline
from surgetank.errors import BrokerError
from surgetank.features.spec import Float32s, Float64s
from surgetank.kafka import provisioning, topic_configs
from surgetank.kafka.retry import retry_until_available
from surgetank.kafka.task_limit import TaskLimit, task_limit
from surgetank.migration.partitioners import PARTITIONERS
from surgetank.processing.dead_letter_limit import DeadLetterLimit
from surgetank.processing.key_rule import KeyRule, Rekeying
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
from surgetank.processing.shadow_scoring import ShadowScoring
from surgetank.record_compression import RecordBytes
from surgetank.records import ModelVersion, OutputPartition
from surgetank.runtime.written_partitions import copies_of
from surgetank.serving.bundle import Bundle
from surgetank.serving.model_engine import ServedModel
from surgetank.serving.scorer import Scorer
from surgetank.settings import Settings
from surgetank.settings.schema import DeadLetterSettings
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.model_bundle import find_bundle
from surgetank.worker.model_parts import model_of
from surgetank.worker.wire_parts import WireParts, deserializers

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state
    from surgetank.processing.stateful_features import StatefulFeatures


def pinned_model(pipeline: Pipeline, settings: Settings) -> ModelVersion:
    """Return the model to serve: as set, else as declared. An empty version is the only one present. Pure.

    The declared version is one of the declared model: it does not hold for another ``model.name``.
    """
    name = settings.model.name or pipeline.model
    declared = pipeline.model_version if name == pipeline.model else ""
    return ModelVersion(name, settings.model.version or declared)


def find_model(pipeline: Pipeline, settings: Settings, folder: Path, version: str = "") -> Bundle:
    """Return the verified bundle of a version, the pinned one by default.

    ``folder``: the bundles, unless set otherwise.
    """
    name, pinned = pinned_model(pipeline, settings)
    wanted = ModelVersion(name, version or pinned)
    return find_bundle(wanted, pipeline.spec, settings.model, folder, pipeline.scores.kind)


def load_model(pipeline: Pipeline, settings: Settings, folder: Path) -> ServedModel:
    """Return the pinned model, checked by ``find_model`` and ``model_of``.

    ``folder``: the bundles, unless set otherwise.
    """
    return model_of(find_model(pipeline, settings, folder), pipeline, settings)


def check_declaration(pipeline: Pipeline, settings: Settings, folder: Path) -> ServedModel:
    """Check what a worker needs besides Kafka: schemas with the declared fields, and a model of these features.

    ``folder``: the bundles, unless set otherwise. Returns the model.
    """
    schemas = project_schemas(settings.schemas.directory)
    deserializers(pipeline, schemas, settings.dead_letters.value_bytes_max)
    check_score_schema(schemas, pipeline)
    return load_model(pipeline, settings, folder)


def dead_letter_limit(rules: DeadLetterSettings) -> DeadLetterLimit:
    """Return the limit of the share of dead letters, as set."""
    return DeadLetterLimit(rules.share_max, rules.window_seconds, rules.minimum_events)


@contextmanager
def model_faults_first(pipeline: Pipeline, settings: Settings, folder: Path) -> Iterator[None]:
    """If the brokers do not answer in the block, raise what is wrong with the pinned model, else the BrokerError."""
    try:
        yield
    except BrokerError:
        find_model(pipeline, settings, folder).check(pipeline.spec)
        raise


class TopicLimits(NamedTuple):
    """The largest score with its key, dead letter, and key of a row of state (None: there is no state), in bytes.

    ``rekeyed`` has the largest record and the number of partitions of each source topic to which records are sent
    again; ``copies`` are these partitions. ``batch`` is the size of a batch of records that every topic takes that is
    written, in bytes; ``tasks`` is how many tasks the topics allow.
    """

    score: int
    dead_letter: RecordBytes
    key: int | None
    rekeyed: Mapping[str, tuple[RecordBytes, int]]
    copies: frozenset[OutputPartition]
    batch: int
    tasks: TaskLimit


def topic_limits(pipeline: Pipeline, settings: Settings, clock: Clock) -> TopicLimits:
    """Check the topics and return their limits, together with those of the client.

    Waits until the brokers are available.
    """
    recording = settings.features.record
    partitions = retry_until_available(
        lambda: provisioning.check(
            settings.kafka, pipeline, optional=False, recording=recording, drain=settings.state.drain
        ),
        clock,
    )
    room = retry_until_available(
        lambda: topic_configs.record_limits(settings.kafka, pipeline, recording=recording), clock
    )
    score = room[pipeline.scores.topic]
    if recording:  # a features record has what the score of the same event has, and the features
        score = min(score, room[pipeline.recorded] - topic_configs.features_extra_bytes(pipeline))
    compressed = retry_until_available(
        lambda: topic_configs.record_bytes(settings.kafka, [pipeline.dead_letters, *pipeline.rekeyed]), clock
    )
    dead_letter = compressed.pop(pipeline.dead_letters)
    tasks = task_limit(pipeline, partitions, recording=recording)
    batch = max(1, min(room[topic] for topic in (*pipeline.outputs(recording=recording), *pipeline.rekeyed)))
    rekeyed = {topic: (largest, partitions[topic]) for topic, largest in compressed.items()}
    copies = copies_of(pipeline, partitions)
    return TopicLimits(score, dead_letter, _key_bytes_max(pipeline, room), rekeyed, copies, batch, tasks)


def key_rules(
    pipeline: Pipeline, limits: TopicLimits, metrics: Metrics, warnings: RecordWarnings
) -> dict[str, KeyRule]:
    """Return by topic the rule for records whose key does not repeat the key field."""

    def rekeying(events: Events) -> Rekeying | None:
        if events.differing_keys != "rekey":
            return None
        return Rekeying(pipeline.name, PARTITIONERS[events.partitioner], *limits.rekeyed[events.topic])

    return {
        each.topic: KeyRule(
            each, rekeying=rekeying(each), warn=bool(pipeline.changelogs), metrics=metrics, warnings=warnings
        )
        for each in (pipeline.events, *pipeline.table_facts)
        if each.key is not None
    }


def _key_bytes_max(pipeline: Pipeline, record_bytes: Mapping[str, int]) -> int | None:
    if not pipeline.changelogs:
        return None
    from surgetank.processing.largest_key import largest_key  # compiled code takes a second to load

    return largest_key(pipeline, record_bytes)


def batch_processor(
    pipeline: Pipeline,
    wire: WireParts,
    *,
    stateful: "StatefulFeatures | None",
    scorer: Scorer,
    limits: TopicLimits,
    clock: Clock,
    metrics: Metrics,
    warnings: RecordWarnings,
    on_scored: Callable[[Float32s, Float64s], None],
    shadow: ShadowScoring | None,
) -> BatchProcessor:
    """Return the processing steps of a pipeline; the optional parts as in ``BatchProcessor``."""
    return BatchProcessor(
        pipeline,
        events=wire.events,
        facts=wire.facts,
        stateful=stateful,
        feature_log=wire.feature_log(stateful),
        scorer=scorer,
        scores=ScoreWriter(pipeline, wire.scores, bytes_max=limits.score),
        dead_letter_bytes_max=limits.dead_letter,
        key_rules=key_rules(pipeline, limits, metrics, warnings),
        key_bytes_max=limits.key,
        clock=clock,
        metrics=metrics,
        warnings=warnings,
        on_scored=on_scored,
        shadow=shadow,
    )
