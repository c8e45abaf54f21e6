"""Connects the parts of a worker, and runs it as a Faust app."""

import inspect
import logging
import os
from pathlib import Path

import faust

from surgetank.anomalies.anomaly_monitor import AnomalyMonitor
from surgetank.clock import SystemClock
from surgetank.declaration import Pipeline
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.monitoring import monitoring_server
from surgetank.http.peer_address import peer_address
from surgetank.kafka import provisioning
from surgetank.kafka.retry import retry_until_available
from surgetank.lag.worker_lag import WorkerLag
from surgetank.processing.commit_guard import CommitGuard
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.runtime.event_clock import EventClock
from surgetank.runtime.faust_host import FaustProcess, HostedWorker, faust_app
from surgetank.runtime.worker_runtime import WorkerRuntime
from surgetank.runtime.written_partitions import WrittenPartitions
from surgetank.settings import Settings, load
from surgetank.state.file_limits import raise_limit
from surgetank.telemetry import logs
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.copartitioning_check import CopartitioningCheck
from surgetank.worker.process_exit import ProcessExit
from surgetank.worker.processing_parts import batch_processor, dead_letter_limit, model_faults_first, topic_limits
from surgetank.worker.reported_start import reported_start, timeline_reporter
from surgetank.worker.rollout_parts import followed_rollout
from surgetank.worker.serving_parts import serving_parts
from surgetank.worker.state_parts import state_lookup, stateful_parts
from surgetank.worker.wire_parts import wire_parts
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
    event_clock, health = EventClock(clock, metrics), Health(clock, conditions=("group", "tasks"))
    timeline = timeline_reporter(pipeline, settings, identity, clock, event_clock, metrics)
    with reported_start(timeline):
        with model_faults_first(pipeline, settings, models):
            limits = topic_limits(pipeline, settings, clock)
        rollout = followed_rollout(pipeline, settings, metrics, health, clock)
        serving = serving_parts(pipeline, settings, models, rollout.first, identity, event_clock, metrics)
        model, wire = serving.model, wire_parts(pipeline, settings, clock)
        topic_ids = retry_until_available(
            lambda: provisioning.ids(settings.kafka, [*pipeline.sources, *pipeline.changelogs.values()]), clock
        )
        CopartitioningCheck(settings.kafka, pipeline, metrics).at_start()
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
        processor = batch_processor(
            pipeline,
            wire,
            stateful=stateful,
            scorer=serving.scorer,
            limits=limits,
            clock=clock,
            metrics=metrics,
            warnings=warnings,
            on_scored=anomalies.record,
            shadow=serving.shadow_scoring(wire),
        )
        metrics.worker_info.set(1, worker=identity, pipeline=pipeline.name)
        if wire.gate is not None:
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
            written=WrittenPartitions(pipeline.outputs(recording=settings.features.record), limits.copies),
            dead_letters=pipeline.dead_letters,
            migration=pipeline.migration_topic,
            stores=stores,
            task_limit=limits.tasks,
            output_batch_bytes_max=limits.batch,
            identity=identity,
            address=address,
            model=model,
            topic_ids={topic: topic_ids[topic] for topic in pipeline.sources},
            processed=wire.processed_events(),
            clock=clock,
            event_clock=event_clock,
            metrics=metrics,
            health=health,
            on_failure=process_exit.fail,
            batch_sizer=serving.sizer,
            model_calls=serving.scorer,
            lag=lag,
            observer=WorkerListener(anomalies, timeline),
            schema_gate=wire.gate,
        )
        metrics.refresh = lambda: lag.refresh(runtime.positions())
        process_exit.before(runtime.abandon)
        rollout.follow(serving.connect(timeline, runtime, health).apply)
        return HostedWorker(
            runtime=runtime,
            process=CommitGuard(processor, dead_letter_limit(settings.dead_letters), stores, clock).process,
            server=server,
            health=health,
            call_deadline_seconds=settings.model.call_deadline_seconds,
            on_failure=process_exit.fail,
            on_stopped=serving.closing(rollout.closed_before(timeline.stopped)),
        )
