"""Connects the parts of a worker, and runs it as a Faust app."""

import inspect
import logging
import os
from pathlib import Path

import faust

from surgetank.anomalies.anomaly_monitor import AnomalyMonitor
from surgetank.clock import SystemClock
from surgetank.codec.formats import schema_lookup
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import score_serializer
from surgetank.declaration import Pipeline
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.monitoring import monitoring_server
from surgetank.http.peer_address import peer_address
from surgetank.kafka import provisioning
from surgetank.kafka.retry import retry_until_available
from surgetank.lag.worker_lag import WorkerLag
from surgetank.processing.commit_guard import CommitGuard
from surgetank.processing.dead_letter_limit import DeadLetterLimit
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
from surgetank.records import ModelVersion
from surgetank.runtime.event_clock import EventClock
from surgetank.runtime.faust_host import FaustProcess, HostedWorker, faust_app
from surgetank.runtime.worker_runtime import WorkerRuntime
from surgetank.serving.batch_sizer import FixedBatchSizer
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer
from surgetank.settings import Settings, load
from surgetank.state.file_limits import raise_limit
from surgetank.telemetry import logs
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline.timeline_reporter import TimelineReporter
from surgetank.timeline.writer import TimelineWriter
from surgetank.worker.copartitioning_check import CopartitioningCheck
from surgetank.worker.process_exit import ProcessExit
from surgetank.worker.processing_parts import (
    deserializers,
    feature_log,
    key_rules,
    load_model,
    processed_events,
    registered_topics,
    schema_gate,
    topic_limits,
)
from surgetank.worker.reported_start import reported_start
from surgetank.worker.state_parts import state_lookup, stateful_parts
from surgetank.worker.worker_listener import WorkerListener

log = logging.getLogger(__name__)


def application(pipeline: Pipeline, settings: Settings | None = None, *, models: Path | None = None) -> faust.App:
    """Return the Faust app of a pipeline. It reads no file and opens no connection before it starts.

    ``settings``: default from file and environment; ``models``: the folder of model bundles, default ``models``
    beside the caller's file.
    """
    folder = models or Path(inspect.stack()[1].filename).parent / "models"
    return faust_app(pipeline.name, lambda: worker(pipeline, settings or load(), folder))


def run(pipeline: Pipeline, settings: Settings, *, models: Path) -> None:
    """Run one worker in this process until it is stopped by a signal; end the process."""
    FaustProcess(application(pipeline, settings, models=models)).execute_from_commandline()


def worker(pipeline: Pipeline, settings: Settings, models: Path) -> HostedWorker:
    """Return a worker with all its parts, checked and warmed up. Raises StartupError for errors of the setup."""
    identity, clock, metrics = f"{pipeline.name}-{settings.identity}", SystemClock(), Metrics()
    logs.configure(settings.telemetry, worker=identity, pipeline=pipeline.name)
    raise_limit()
    security = EndpointSecurity(settings.http)
    security.check_exposure(settings.telemetry.host)
    event_clock = EventClock(clock, metrics)
    writer = TimelineWriter(
        settings.kafka,
        pipeline,
        who=identity,
        clock=clock,
        ended=lambda outcome: metrics.timeline_events.add(1, outcome=outcome),
        appended=event_clock.appended,
    )
    timeline = TimelineReporter(writer, settings.kafka, pipeline)
    with reported_start(timeline):
        model, schemas = load_model(pipeline, settings, models), project_schemas(settings.schemas.directory)
        lookup = schema_lookup(settings, clock)
        registered = registered_topics(pipeline, schemas, lookup)
        events, facts = deserializers(pipeline, schemas, settings.dead_letters.value_bytes_max, registered)
        gate = schema_gate(lookup, registered, settings.dead_letters.value_bytes_max)
        scores = score_serializer(schemas, pipeline, settings, lookup)
        limits = topic_limits(pipeline, settings, clock)
        topic_ids = retry_until_available(
            lambda: provisioning.ids(settings.kafka, [*pipeline.sources, *pipeline.changelogs.values()]), clock
        )
        CopartitioningCheck(settings.kafka, pipeline, metrics).at_start()
        sizer, scorer = FixedBatchSizer(settings.worker.batch_rows_max), Scorer(SingleModelRouter(model), clock)
        model.warm_up(sizer.rows_max())
        anomalies = AnomalyMonitor(pipeline.events.topic, pipeline.spec.names, metrics, clock)
        warnings = RecordWarnings(clock)
        stores, stateful = stateful_parts(
            pipeline,
            settings,
            topic_ids=topic_ids,
            model_version=model.version,
            metrics=metrics,
            warnings=warnings,
            clock=clock,
        )
        processor = BatchProcessor(
            pipeline,
            events=events,
            facts=facts,
            stateful=stateful,
            feature_log=feature_log(pipeline, settings, schemas, lookup, stateful),
            scorer=scorer,
            scores=ScoreWriter(pipeline, scores, bytes_max=limits.score),
            dead_letter_bytes_max=limits.dead_letter,
            key_rules=key_rules(pipeline, limits, metrics, warnings),
            key_bytes_max=limits.key,
            clock=clock,
            metrics=metrics,
            warnings=warnings,
            on_scored=anomalies.record,
        )
        rules = settings.dead_letters
        limit = DeadLetterLimit(rules.share_max, rules.window_seconds, rules.minimum_events)
        metrics.worker_info.set(1, worker=identity, pipeline=pipeline.name)
        metrics.model_info.set(1, model=model.name, version=model.version)
        health = Health(clock, conditions=("group", "tasks"))
        if gate is not None:
            health.set("schemas", True)
        server = monitoring_server(settings.telemetry, metrics, health, security)
        address = peer_address(settings, server.url)
        if stores is not None:
            state_lookup(pipeline, settings, stores, address=address, security=security, clock=clock).register(server)
        log.info("worker %s: model %s %s", identity, model.name, model.version)
        timeline.started(model=model.name, model_version=model.version, url=server.url, pid=os.getpid())
        process_exit, lag = ProcessExit(timeline), WorkerLag(metrics, health, event_clock)
        runtime = WorkerRuntime(
            settings,
            pipeline=pipeline.name,
            group=pipeline.group,
            topics=pipeline.sources,
            outputs=pipeline.outputs(recording=settings.features.record),
            dead_letters=pipeline.dead_letters,
            migration=pipeline.migration_topic,
            stores=stores,
            task_limit=limits.tasks,
            output_batch_bytes_max=limits.batch,
            identity=identity,
            address=address,
            model=ModelVersion(model.name, model.version),
            topic_ids={topic: topic_ids[topic] for topic in pipeline.sources},
            processed=processed_events(pipeline, settings, schemas, lookup),
            clock=clock,
            event_clock=event_clock,
            metrics=metrics,
            health=health,
            on_failure=process_exit.fail,
            batch_rows_max=sizer.rows_max,
            model_calls=scorer,
            lag=lag,
            observer=WorkerListener(anomalies, timeline),
            schema_gate=gate,
        )
        metrics.refresh = lambda: lag.refresh(runtime.positions())
        process_exit.before(runtime.abandon)
        return HostedWorker(
            runtime=runtime,
            process=CommitGuard(processor, limit, stores, clock).process,
            server=server,
            health=health,
            call_deadline_seconds=settings.model.call_deadline_seconds,
            on_failure=process_exit.fail,
            on_stopped=timeline.stopped,
        )
