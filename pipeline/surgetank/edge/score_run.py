"""Scores files of events: the steps of a worker's batch, with files in the place of topics.

``BatchProcessor`` and its parts are those of a worker. So every score has the value that a worker's score of the same
event after the same events has.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from surgetank.clock import Clock
from surgetank.codec.avro.container import ContainerWriter
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.codec.score_schema import check_score_schema
from surgetank.dead_letters.letter_file import Write, exported, letter_file
from surgetank.dead_letters.letters import letter_columns
from surgetank.declaration import Events, Pipeline
from surgetank.edge.input_file import EventFile, open_stream
from surgetank.edge.source_records import EPOCH, PARTITION, SourceRecords, batches
from surgetank.errors import SettingsError, TopologyError
from surgetank.processing.event_filter import filtering
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
from surgetank.record_compression import RecordBytes
from surgetank.records import BatchOutput, OutputRecords, PartitionRecords, TaskId, TaskRecords, TopicPartition
from surgetank.serving.bundle import Bundle
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer
from surgetank.settings import Settings
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.model_parts import model_of

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state
    from surgetank.edge.local_state import LocalState, RunState
    from surgetank.processing.stateful_features import StatefulFeatures

_BYTES_MAX = 2**31 - 1  # no topic limits a record here


@dataclass(frozen=True, slots=True)
class ScoreFiles:
    """The files of a run. ``facts`` are by topic. ``state`` is a folder; None: the run begins without state.

    ``arrived`` names the column with the arrival time of events and facts, if they have one.
    """

    events: str
    scores: Path
    facts: Mapping[str, str] = field(default_factory=dict)
    dead_letters: Path | None = None
    state: Path | None = None
    arrived: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a run did. Each of ``events`` is a score, filtered, or a dead letter; facts may be dead letters too.

    ``dead_letters`` counts them by step and reason, as ``infer: not_a_number``.
    """

    pipeline: str
    model: str
    version: str
    events: int
    facts: int
    scores: int
    filtered: int
    dead_letters: dict[str, int]
    seconds: float
    file: str

    @property
    def dead(self) -> int:
        """The number of dead letters."""
        return sum(self.dead_letters.values())


Progress = Callable[[int, int | None], None]  # bytes read, and all bytes of the events if they are known


def score_files(
    pipeline: Pipeline, bundle: Bundle, files: ScoreFiles, settings: Settings, clock: Clock, progress: Progress
) -> ScoreReport:
    """Score the events of a file, and write scores and dead letters to files, which are replaced when all is done.

    Raises StartupError for what does not fit: files, schemas, declaration, model; StateError for state that cannot be
    used. After an error the files and the state are as before.
    """
    started = clock.monotonic()
    contracts, bytes_max = project_schemas(settings.schemas.directory), settings.dead_letters.value_bytes_max
    check_score_schema(contracts, pipeline)
    model = model_of(bundle, pipeline, settings)
    with ExitStack() as stack:
        opened = {}
        for each, name, option in _inputs(pipeline, files):
            stream = stack.enter_context(open_stream(name, option))
            opened[each.topic] = EventFile(stream, f"{option} {name}", each, contracts, bytes_max)
        pipeline.check(opened[pipeline.events.topic].deserializer.schema)
        pipeline.check_facts({each.topic: opened[each.topic].deserializer.schema for each in pipeline.table_facts})
        state = _state(pipeline, files, settings, stack)
        run = _Run(pipeline, opened, state.local if state else None, files, clock)
        metrics, warnings = Metrics(), RecordWarnings(clock)
        processor = BatchProcessor(
            pipeline,
            events=filtering(opened[pipeline.events.topic].deserializer, pipeline.events.only),
            facts={each.topic: filtering(opened[each.topic].deserializer, each.only) for each in pipeline.table_facts},
            stateful=_stateful(pipeline, state, settings, metrics, warnings),
            feature_log=None,
            scorer=Scorer(SingleModelRouter(model), clock, pipeline.scores.kind),
            scores=ScoreWriter(pipeline, AvroSerializer(contracts, pipeline.scores.schema), bytes_max=_BYTES_MAX),
            dead_letter_bytes_max=RecordBytes(_BYTES_MAX, 0),
            key_rules={},  # a key is made of its field: it repeats it
            key_bytes_max=None,
            clock=clock,
            metrics=metrics,
            warnings=warnings,
            on_scored=lambda _matrix, _scores: None,
        )
        # Entered last, so that the files are whole before the state is replaced.
        with _written(files.scores, contracts, pipeline) as scores, _letters(files.dead_letters) as letters:
            for tasks in run.batches(settings.worker.batch_rows_max):
                run.write(tasks, processor.process(tasks), scores, letters)
                progress(run.bytes_read, run.bytes)
        if state is not None:
            state.keep()
    return ScoreReport(
        pipeline.name,
        model.name,
        model.version,
        events=run.events,
        facts=run.facts,
        scores=run.scores,
        filtered=run.events - run.scores - run.dead_events,
        dead_letters=dict(run.reasons),
        seconds=clock.monotonic() - started,
        file=str(files.scores),
    )


class _Run:
    """The records of a run, and what became of them."""

    def __init__(
        self,
        pipeline: Pipeline,
        opened: Mapping[str, EventFile],
        state: "LocalState | None",
        files: ScoreFiles,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._state = state
        self._stream = opened[pipeline.events.topic].stream
        self._letters = 0
        now_ms = int(clock.now() * 1000)
        self._sources = [
            SourceRecords(
                each,
                opened[each.topic],
                first=0 if state is None else state.position(each.topic),
                keyed=state is not None,
                arrived=files.arrived if state is not None else None,
                now_ms=now_ms,
            )
            for each in (pipeline.events, *pipeline.table_facts)
        ]
        self.events = self.facts = self.scores = self.dead_events = 0
        self.reasons: Counter[str] = Counter()

    @property
    def bytes_read(self) -> int:
        """The bytes of events that were read."""
        return self._stream.tell()

    @property
    def bytes(self) -> int | None:
        """All bytes of events; None if they come from a pipe."""
        return self._stream.size

    def batches(self, rows_max: int) -> Iterator[list[TaskRecords]]:
        """Yield the records in batches, all of one task."""
        for records in batches(self._sources, rows_max):
            yield [TaskRecords(TaskId(self._pipeline.name, PARTITION), EPOCH, tuple(records))]

    def write(
        self, tasks: Sequence[TaskRecords], output: BatchOutput, scores: ContainerWriter, letters: Write | None
    ) -> None:
        """Write the outputs of a batch to the files and the state, and count them."""
        topic = self._pipeline.events.topic
        partitions = tasks[0].partitions
        is_event = np.repeat([each.source.topic == topic for each in partitions], [len(each) for each in partitions])
        self.events += int(np.count_nonzero(is_event))
        self.facts += int(np.count_nonzero(~is_event))
        self.scores += output.scored
        for letter in output.dead:
            self.reasons[f"{letter.stage}: {letter.reason.label}"] += 1
            self.dead_events += int(is_event[letter.row])
        for records in output.outgoing:
            if records.topic == self._pipeline.scores.topic:
                scores.write(records.values)
            elif letters is not None:
                self._write_letters(records, letters)
        if self._state is not None:
            self._state.commit(output.changes, {each.source: each.next_offset for each in partitions})

    def _write_letters(self, records: OutputRecords, letters: Write) -> None:
        first, self._letters = self._letters, self._letters + len(records)
        headers = records.headers or []
        written = PartitionRecords(
            TopicPartition(records.topic, PARTITION),
            self._letters,
            np.arange(first, self._letters),
            np.full(len(records), -1),
            records.keys,
            records.values,
            headers_of=headers.__getitem__,
        )
        letters(exported(written, letter_columns(written), np.arange(len(records))))


def _inputs(pipeline: Pipeline, files: ScoreFiles) -> Iterator[tuple[Events, str, str]]:
    """Yield the events and facts with the file and the option of each. Raises TopologyError for a missing file."""
    wanted = {each.topic: each for each in pipeline.table_facts}
    if missing := [topic for topic in wanted if topic not in files.facts]:
        raise TopologyError(
            f"pipeline {pipeline.name!r} has features of the facts on {missing[0]!r}: name their file with "
            f"--facts {missing[0]}=FILE"
        )
    if unknown := [topic for topic in files.facts if topic not in wanted]:
        raise TopologyError(
            f"--facts {unknown[0]}: pipeline {pipeline.name!r} updates no table with this topic; it does with: "
            f"{', '.join(wanted) or 'none'}"
        )
    yield pipeline.events, files.events, "--in"
    for topic, events in wanted.items():
        yield events, files.facts[topic], f"--facts {topic}"


def _state(pipeline: Pipeline, files: ScoreFiles, settings: Settings, stack: ExitStack) -> "RunState | None":
    """Return the state of the run; None for a pipeline without tables. Raises SettingsError for options about it."""
    if pipeline.changelogs:
        from surgetank.edge.local_state import state_folder

        return stack.enter_context(state_folder(files.state, pipeline, settings.state.memory_mib))
    for name, value in (("--state", files.state), ("--arrived", files.arrived)):
        if value is not None:
            raise SettingsError(f"{name}: pipeline {pipeline.name!r} has no tables; leave the option out")
    return None


def _stateful(
    pipeline: Pipeline, state: "RunState | None", settings: Settings, metrics: Metrics, warnings: RecordWarnings
) -> "StatefulFeatures | None":
    if state is None:
        return None
    from surgetank.processing.stateful_features import StatefulFeatures

    return StatefulFeatures(pipeline, state.local, settings.state, metrics=metrics, warnings=warnings)


@contextmanager
def _written(file: Path, contracts: SchemaRepository, pipeline: Pipeline) -> Iterator[ContainerWriter]:
    """Yield a writer of scores. The file is there, whole, when all is written."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        stream: IO[bytes] = partial.open("wb")
    except OSError as error:
        raise SettingsError(f"--out {file}: {error.strerror}; name a file in a folder that can be written") from None
    try:
        with stream:
            yield ContainerWriter(stream, contracts.schema(pipeline.scores.schema))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _letters(file: Path | None) -> Iterator[Write | None]:
    if file is None:
        yield None
    else:
        with letter_file(file, "--dead-letters") as write:
            yield write
