"""Builds the faust.App of a pipeline and connects all parts of a worker.

Faust supplies agents, services and the CLI; its Kafka transport and its web server are disabled through its own
settings.
"""

import gc
import inspect
import logging
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
from faust.app.base import BootStrategy

from pipeline.anomalies.anomaly_monitor import AnomalyMonitor
from pipeline.clock import Clock, SystemClock
from pipeline.codec.avro import Decoder, Encoder
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.declaration import Pipeline
from pipeline.errors import (
    BrokerError,
    SettingsError,
    StartupError,
    StateClosed,
    StateDamaged,
    SurgetankError,
    TooManyDeadLetters,
    TopicsError,
)
from pipeline.http.lookup import Lookup
from pipeline.http.monitoring import monitoring_server
from pipeline.http.peer_address import peer_address
from pipeline.http.peers import PeerAddresses
from pipeline.kafka import provisioning
from pipeline.kafka.clients import MESSAGE_BYTES_MAX
from pipeline.kafka.retry import retry_until_available
from pipeline.lag.worker_lag import WorkerLag
from pipeline.migration.partition_history import stayed
from pipeline.processing.dead_letter_limit import DeadLetterLimit
from pipeline.processing.feature_log import FeatureLog
from pipeline.processing.processor import BatchProcessor
from pipeline.runtime.batch_output import BatchOutput, TaskBatch
from pipeline.runtime.faust_host import FaustHost
from pipeline.runtime.worker_runtime import WorkerRuntime
from pipeline.serving import bundle
from pipeline.serving.onnx_model import OnnxModel
from pipeline.serving.scorer import Scorer
from pipeline.settings import KafkaSettings, Settings, load
from pipeline.state.file_limits import raise_limit
from pipeline.state.state_directory import StateDirectory
from pipeline.state.state_manager import StateManager
from pipeline.state.state_spec import StateSpec
from pipeline.state.store_identity import TableSignature
from pipeline.telemetry import logs
from pipeline.telemetry.health import Health
from pipeline.telemetry.metrics import Metrics
from pipeline.timeline.timeline_reporter import TimelineReporter
from pipeline.timeline.writer import TimelineWriter
from pipeline.worker_listener import WorkerListener

if TYPE_CHECKING:
    from pipeline.processing.stateful_features import StatefulFeatures

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0
# With Python's default threshold of 700 the garbage collector traversed all records in flight again and again, which
# took a third of the fetcher's time. Objects created before the first record are frozen and never traversed.
COLLECT_AFTER = (100_000, 50, 100)


class _Boot(BootStrategy):  # type: ignore[misc]
    """Starts only agents and the worker's service in Faust."""

    enable_kafka = False
    enable_web = False


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot


class _Process(faust.Worker):  # type: ignore[misc]
    """Faust's process without its logs, spinner and debugging signals.

    By default ``faust worker`` logs every event twice, and drops the last log lines at ``-l error``. On SIGUSR1 it
    prints all stacks with their local variables, including passwords, and on SIGUSR2 it opens a debugger.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"override_logging": False, "quiet": True})
        self.spinner = None

    def install_signal_handlers(self) -> None:
        """Stop on SIGTERM and SIGINT; ignore SIGUSR1 and SIGUSR2, which would otherwise end the process."""
        self.loop.add_signal_handler(signal.SIGINT, self._on_sigint)
        self.loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        for ignored in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(ignored, signal.SIG_IGN)


class Worker:
    """All parts of one worker of a pipeline, checked and warmed up. Raises StartupError for errors of the setup."""

    def __init__(self, pipeline: Pipeline, settings: Settings, models: Path) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.identity = f"{pipeline.name}-{settings.identity}"
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.health = Health(self.clock, conditions=("group", "tasks"))
        logs.configure(settings.telemetry, worker=self.identity, pipeline=pipeline.name)
        self._ending = threading.Lock()
        self._runtime: WorkerRuntime | None = None
        timeline = TimelineWriter(
            settings.kafka,
            pipeline,
            who=self.identity,
            clock=self.clock,
            ended=lambda outcome: self.metrics.timeline_events.add(1, outcome=outcome),
        )
        self._story = TimelineReporter(timeline, settings.kafka, pipeline)
        try:
            self._build(models)
        except StartupError as error:
            if not isinstance(error, BrokerError | TopicsError):  # these prevent timeline events
                self._story.failed(error.exit_code, str(error))
                self._story.close()
            raise

    def _build(self, models: Path) -> None:
        pipeline, settings = self.pipeline, self.settings

        chosen = bundle.load(
            settings.model.directory or models, settings.model.name or pipeline.model, settings.model.version
        )
        spec = pipeline.spec
        chosen.check(spec)
        session = OnnxModel(
            chosen.model,
            input=chosen.manifest.input,
            output=chosen.manifest.output,
            features=spec.names,
            threads=settings.model.threads,
        )
        contracts = SchemaRepository.load()
        bytes_max = settings.dead_letters.value_bytes_max
        decoder = Decoder(contracts, pipeline.events.schema, value_bytes_max=bytes_max)
        facts = {
            each.topic: Decoder(contracts, each.schema, value_bytes_max=bytes_max) for each in pipeline.table_facts
        }
        pipeline.check(decoder.schema)
        pipeline.check_facts({topic: each.schema for topic, each in facts.items()})
        recording = settings.features.record
        retry_until_available(
            lambda: provisioning.check(
                settings.kafka, pipeline, optional=False, recording=recording, drain=settings.state.drain
            ),
            self.clock,
        )
        limits = retry_until_available(
            lambda: provisioning.record_limits(settings.kafka, pipeline, recording=recording), self.clock
        )
        session.warm_up(settings.worker.batch_rows_max)
        self._scorer = Scorer(session.score, self.clock)
        self._breaker = DeadLetterLimit(
            settings.dead_letters.share_max,
            settings.dead_letters.window_seconds,
            settings.dead_letters.minimum_events,
        )
        self._watch = AnomalyMonitor(pipeline.events.topic, spec.names, self.metrics, self.clock)
        self._vault, recall = stateful_parts(
            pipeline, settings, model_version=chosen.version, metrics=self.metrics, clock=self.clock
        )
        self._flow = BatchProcessor(
            pipeline,
            decoder=decoder,
            facts=facts,
            recall=recall,
            recorder=_recorder(pipeline, contracts, recall) if recording else None,
            encoder=Encoder(contracts, "score"),
            spec=spec,
            scorer=self._scorer,
            model=chosen.name,
            model_version=chosen.version,
            score_bytes_max=limits[pipeline.scores.topic] - provisioning.FRAME_BYTES,
            dead_letter_bytes_max=min(limits[pipeline.dead_letters], MESSAGE_BYTES_MAX) - provisioning.FRAME_BYTES,
            clock=self.clock,
            metrics=self.metrics,
            saw=self._watch.record,
        )
        self.metrics.worker_info.set(1, worker=self.identity, pipeline=pipeline.name)
        self.metrics.model_info.set(1, model=chosen.name, version=chosen.version)
        self.server = monitoring_server(settings.telemetry, self.metrics, self.health)
        self._address = peer_address(settings, self.server.url)
        if self._vault is not None:
            _lookup(pipeline, settings, self._vault, self._address, self.clock).register(self.server)
        log.info("worker %s: model %s %s", self.identity, chosen.name, chosen.version)
        self._story.started(model=chosen.name, model_version=chosen.version, url=self.server.url, pid=os.getpid())

    def runtime(self) -> WorkerRuntime:
        """Return the runtime of this worker."""
        lag = WorkerLag(self.metrics, self.clock, standings=lambda: self._runtime.positions() if self._runtime else {})
        self.metrics.refresh = lag.refresh
        self._runtime = WorkerRuntime(
            self.settings,
            pipeline=self.pipeline.name,
            group=self.pipeline.group,
            topics=self.pipeline.sources,
            outputs=self.pipeline.outputs(recording=self.settings.features.record),
            migration=self.pipeline.migration_topic,
            stores=self._vault,
            identity=self.identity,
            address=self._address,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            on_failure=self.fail,
            call_started_at=lambda: self._scorer.started_at,
            lag=lag,
            observer=WorkerListener(self._watch, self._story),
        )
        return self._runtime

    def compute(self, batch: TaskBatch) -> BatchOutput | None:
        """Process a batch; None if no output may be committed, because the state of a task is closed or damaged.

        Raises TooManyDeadLetters before any dead letter of the batch is committed.
        """
        try:
            outcome = self._flow.run(batch.slices)
        except StateClosed as error:
            log.debug("%s", error)
            return None
        except StateDamaged as error:
            if self._vault is not None:
                self._vault.mark_corrupted(error.partition, str(error))
            return None
        now = self.clock.monotonic()
        self._breaker.observe(now, len(outcome.records), len(outcome.dead))
        why = self._breaker.tripped(now)
        if why is not None:
            raise TooManyDeadLetters(why)
        return BatchOutput(outcome.outgoing, outcome.arrived_ms, outcome.scored, outcome.changes)

    def fail(self, error: BaseException) -> None:
        """Log the error in one line and end the process with its exit code. From any thread; later calls do nothing."""
        if not self._ending.acquire(blocking=False):
            return
        if isinstance(error, SurgetankError):
            log.error("%s", error)
            code = error.exit_code
        else:
            log.error("the worker ends: %r", error, exc_info=error)
            code = 1
        self._story.failed(code, str(error) or repr(error))
        farewell = threading.Thread(target=self._shutdown, name="farewell", daemon=True)
        farewell.start()
        # The shutdown may need the calling thread: wait for it in another thread, with a timeout.
        threading.Thread(target=self._end, args=(farewell, code), name="end", daemon=True).start()

    def stopped(self) -> None:
        """Report that the worker has stopped on request."""
        self._story.stopped()

    def _shutdown(self) -> None:
        if self._runtime is not None:
            self._runtime.abandon()

    def _end(self, farewell: threading.Thread, code: int) -> None:
        farewell.join(SHUTDOWN_SECONDS)
        self._story.close()
        sys.stderr.flush()
        os._exit(code)


def stateful_parts(
    pipeline: Pipeline, settings: Settings, *, model_version: str, metrics: Metrics, clock: Clock
) -> "tuple[StateManager | None, StatefulFeatures | None]":
    """Return the state manager and the stateful features of a worker; None and None for a pipeline without tables.

    Raises StartupError if the state directory cannot be used.
    """
    if not pipeline.changelogs:
        return None, None
    from pipeline.processing.stateful_features import StatefulFeatures  # compiled code takes a second to load

    cluster, partitions = retry_until_available(lambda: provisioning.anchor(settings.kafka, pipeline), clock)
    base = settings.state.folder / cluster / pipeline.name
    try:
        claim = StateDirectory(base, settings.worker.name)
    except OSError as error:
        raise SettingsError(f"state.directory: {base} cannot be used: {error.strerror}") from None
    kept = retry_until_available(lambda: state_spec(settings.kafka, pipeline, partitions), clock)
    raise_limit()
    vault = StateManager(claim, kept, settings.state.memory_mib)
    log.info("state of pipeline %s is kept in %s", pipeline.name, claim.folder)
    return vault, StatefulFeatures(pipeline, vault, settings.state, model_version=model_version, metrics=metrics)


def state_spec(kafka: KafkaSettings, pipeline: Pipeline, partitions: int) -> StateSpec:
    """Return the state spec of a pipeline with ``partitions`` event partitions. Raises BrokerError."""
    from pipeline.processing.stateful_features import row_serdes

    serdes, signatures = row_serdes(pipeline)
    topic_ids = provisioning.ids(kafka, pipeline.changelogs.values())
    # The topic id distinguishes state of a changelog that was deleted and recreated, as by `surgetank state reset`.
    of_topics = {
        table: TableSignature(signature.size, f"{signature.fingerprint}@{topic_ids[pipeline.changelogs[table]]}")
        for table, signature in signatures.items()
    }
    fingerprints = {table: signature.fingerprint for table, signature in signatures.items()}
    sources = dict.fromkeys(signatures, pipeline.events.topic)  # predictions belong to events
    sources |= {state.table.name: pipeline.updating_events(state).topic for state in pipeline.table_states}
    return StateSpec(pipeline.name, partitions, serdes, of_topics, pipeline.changelogs, fingerprints, sources, stayed)


def _recorder(pipeline: Pipeline, contracts: SchemaRepository, recall: "StatefulFeatures | None") -> FeatureLog:
    """Return the feature log of a pipeline. A pipeline without state reads no facts and needs no start offsets."""
    return FeatureLog(
        pipeline, Encoder(contracts, "features"), recall.committed if recall is not None else lambda _: {}
    )


def _lookup(pipeline: Pipeline, settings: Settings, vault: StateManager, address: str, clock: Clock) -> Lookup:
    """Return the HTTP lookup of state by key."""
    spec, topic = vault.spec, pipeline.events.topic
    return Lookup(
        pipeline,
        spec.serdes,
        vault,
        partitions=spec.partitions,
        me=address,
        peers=PeerAddresses(settings.kafka, pipeline.group, topic, spec.partitions, clock),
        clock=clock,
    )


def application(pipeline: Pipeline, settings: Settings | None = None, *, models: Path | None = None) -> faust.App:
    """Return the Faust app of a pipeline. It reads no file and opens no connection before it starts.

    ``settings``: default from file and environment; ``models``: the folder of model bundles, default ``models``
    beside the caller's file.
    """
    folder = models or Path(inspect.stack()[1].filename).parent / "models"
    app = _App(
        pipeline.name,
        broker="kafka://unused",  # required by Faust, never connected
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / "surgetank-faust",  # created by Faust, never used
        autodiscover=False,
        Worker=_Process,
    )
    slices = app.channel(maxsize=1, value_type=Any)
    host: dict[str, Any] = {}

    class Host(FaustHost):
        """Starts the worker when Faust starts."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(put=lambda work: slices.put(value=work), **kwargs)
            host["service"] = self

        def build(self) -> Worker:
            app.flow_control.resume()  # otherwise put() would block forever
            try:
                worker = Worker(pipeline, settings or load(), folder)
                gc.freeze()
                gc.set_threshold(*COLLECT_AFTER)
                return worker
            except StartupError as error:
                # Faust would print a traceback and exit with its own code.
                print(f"surgetank: {error}", file=sys.stderr, flush=True)
                os._exit(error.exit_code)

    app.service(Host)

    @app.agent(slices, name=f"{pipeline.name}.score")  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Process each batch from the channel."""
        async for work in stream:
            await host["service"].process(work)

    return app


def run(pipeline: Pipeline, settings: Settings, *, models: Path) -> None:
    """Run one worker in this process until it is stopped by a signal; end the process."""
    app = application(pipeline, settings, models=models)
    _Process(app).execute_from_commandline()
