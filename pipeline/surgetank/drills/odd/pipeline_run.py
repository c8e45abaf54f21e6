"""Runs one odd pipeline: its topics, its records, one worker process, and the judgement of what that made of them."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from surgetank.clock import Clock, SystemClock
from surgetank.declaration import Pipeline
from surgetank.drills.fleet import Fleet, Member
from surgetank.drills.odd.declaration import OddPipeline
from surgetank.drills.odd.deliveries import Deliveries
from surgetank.drills.odd.judge import Judge, Judgement
from surgetank.drills.odd.memory import resident_bound, resident_peak
from surgetank.drills.odd.project import MODULE, declared, write_model, write_project
from surgetank.drills.odd.reading import ReadRecord, ends_of, read_topics
from surgetank.drills.odd.records import OddRecord, backlog_records, odd_records
from surgetank.drills.odd.refusals import OddProject, Refusal
from surgetank.drills.odd.sender import OddSender
from surgetank.drills.odd.stopping import DrillStopped
from surgetank.errors import BrokerError, TopologyError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import CommittedOffsets
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings, load

STALLED_SECONDS = 90.0
REFUSED_SECONDS = 60.0
COUNTED_SECONDS = 5.0
CALL_SECONDS = 30.0
EVENTS_COUNTED, FACTS_COUNTED = "surgetank_events_scored_total", "surgetank_facts_applied_total"
_LOOK_SECONDS = 0.1
_DEAD_LETTER_EXTRA_BYTES = 64 * 1024
_LONG = str(2**63 - 1)
_ANY_TIME = {"retention.ms": "-1", "message.timestamp.after.max.ms": _LONG, "segment.ms": _LONG}
_SOON = {"file.delete.delay.ms": "1000"}  # the topics of a pipeline are deleted when it has been judged


@dataclass(slots=True)
class PipelineResult:
    """What one pipeline came to. ``refused`` is the kind of the refusal; ``wrong`` is the number of ``mismatches``.

    ``positions`` are the records that the sources had in the end, ``rejected_records`` those that the brokers rejected.
    Sizes are in bytes.
    """

    number: int
    refused: str = ""
    seconds: float = 0.0
    sent: int = 0
    sent_bytes: int = 0
    positions: int = 0
    rejected_records: int = 0
    rejected_reasons: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    mismatches: list[str] = field(default_factory=list)
    resident_peak: int = 0
    resident_bound: int = 0

    def add(self, mismatch: str) -> None:
        """Count a mismatch."""
        self.wrong += 1
        self.mismatches.append(mismatch)


class PipelineRun:
    """Runs pipelines one after the other, each in its folder below ``home``. For one thread.

    Once ``stop`` is set, no worker is waited for any more.
    """

    def __init__(
        self, kafka: KafkaSettings, home: Path, name: str, stop: threading.Event, clock: Clock | None = None
    ) -> None:
        self._kafka = kafka
        self._stop = stop
        self._home = home
        self._sender = OddSender(kafka, name)
        self._clock = clock or SystemClock()

    def run(
        self,
        odd: OddPipeline,
        project: OddProject,
        refusals: tuple[Refusal, ...],
        *,
        seed: int,
        records: int,
        bytes_max: int,
    ) -> PipelineResult:
        """Run one pipeline; its folder is kept if anything is wrong. An exception is a mismatch, as any other.

        Raises DrillStopped.
        """
        started = self._clock.monotonic()
        result, folder = PipelineResult(odd.number), self._home / odd.name
        shutil.rmtree(folder, ignore_errors=True)
        made = chain(odd_records(odd, seed, records, bytes_max - odd.backlog_bytes), backlog_records(odd, seed))
        try:
            self._run(odd, project, refusals, folder, made, result)
        except DrillStopped:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever kind: it says what is wrong with this pipeline
            result.add(f"{type(error).__name__}: {error}")
        if not result.wrong:
            shutil.rmtree(folder, ignore_errors=True)
        result.seconds = round(self._clock.monotonic() - started, 1)
        return result

    def _run(
        self,
        odd: OddPipeline,
        project: OddProject,
        refusals: tuple[Refusal, ...],
        folder: Path,
        records: Iterable[OddRecord],
        result: PipelineResult,
    ) -> None:
        with self._topics(odd, project, folder) as pipeline, self._fleet(project, folder) as fleet:
            if refusals:
                self._refused(fleet.start(name="odd"), refusals, result)
            elif pipeline is None:
                result.add("the declaration is refused, and must not be")
            else:
                deliveries = self._sender.send(records, self._stop)
                result.sent, result.sent_bytes = deliveries.records, deliveries.bytes
                member = fleet.start(name="odd")
                running = self._processed(member, pipeline, odd, result)
                judge = self._judge(odd, pipeline, deliveries, result)
                if running:
                    self._check_counts(member, odd, judge, result)
                    result.resident_peak = max(result.resident_peak, resident_peak(member.process.pid))
                    if status := fleet.stop(member):
                        result.add(f"the worker stopped with status {status}: {_last_lines(member.log)}")
                self._check_memory(odd, result)

    @contextmanager
    def _topics(self, odd: OddPipeline, project: OddProject, folder: Path) -> Iterator[Pipeline | None]:
        """Write the project and make its topics; delete them in the end. None: the declaration is refused."""
        write_project(folder, project.files)
        try:
            pipeline = declared(project.files["topology/odd.py"])
        except TopologyError:
            yield None
            return
        write_model(folder, pipeline, project.model)
        for name, text in project.late_files.items():
            if text is None:
                (folder / name).unlink()
            else:
                (folder / name).write_text(text)
        recording = bool(odd.settings["features.record"])
        made = provisioning.apply(self._kafka, pipeline, recording=recording, configs=_configs(odd, pipeline, project))
        try:
            if project.missing:
                provisioning.delete(self._kafka, project.missing)
            yield pipeline
        finally:
            provisioning.delete(self._kafka, made)
            self._delete_group(pipeline.group)

    def _delete_group(self, group: str) -> None:
        # Errors are ignored: without a commit there is no group, and a worker that was killed may still be a member.
        admin = clients.admin(self._kafka)  # a client without a reference ends, and its requests have no result
        admin.delete_consumer_groups([group], request_timeout=CALL_SECONDS)[group].exception(2 * CALL_SECONDS)

    def _fleet(self, project: OddProject, folder: Path) -> Fleet:
        return Fleet(
            MODULE,
            bootstrap=self._kafka.bootstrap,
            folder=(folder / "logs").absolute(),
            settings=project.settings,
            project=folder,
        )

    def _refused(self, member: Member, refusals: tuple[Refusal, ...], result: PipelineResult) -> None:
        """Wait until a worker ends that must; check its status and its message."""
        wanted = " or ".join(refusal.kind for refusal in refusals)
        until = self._clock.monotonic() + REFUSED_SECONDS
        while member.running and not member.ready and self._clock.monotonic() < until:
            self._pause()
        if member.running:
            result.add(f"the worker runs, and must be refused: {wanted}")
            return
        log = member.log.read_text(errors="replace")
        found = next((refusal for refusal in refusals if refusal.matches(log)), None)
        if member.process.returncode != 2 or found is None or "Traceback" in log:
            status = member.process.returncode
            result.add(f"status {status}, must be 2 for: {wanted}; the log ends: {_last_lines(member.log)}")
            return
        result.refused = found.kind

    def _processed(self, member: Member, pipeline: Pipeline, odd: OddPipeline, result: PipelineResult) -> bool:
        """Wait until the group has committed the ends of all sources; return whether the worker still runs then."""
        ends = {source: end for source, end in ends_of(self._kafka, odd.sources).items() if end}
        group = CommittedOffsets(self._kafka, pipeline.group, *odd.sources)
        done: Mapping[TopicPartition, int] = {}
        moved = self._clock.monotonic()
        while member.running:
            result.resident_peak = max(result.resident_peak, resident_peak(member.process.pid))
            if all(done.get(source, 0) >= end for source, end in ends.items()):
                return True
            now = _committed(group, done)
            if now != done:
                done, moved = now, self._clock.monotonic()
            elif self._clock.monotonic() - moved > STALLED_SECONDS:
                result.add(f"no progress within {STALLED_SECONDS:.0f} s: {_last_lines(member.log)}")
                return True
            self._pause()
        result.add(f"the worker ended with status {member.process.returncode}: {_last_lines(member.log)}")
        return False

    def _pause(self) -> None:
        if self._stop.wait(_LOOK_SECONDS):
            raise DrillStopped

    def _judge(self, odd: OddPipeline, pipeline: Pipeline, deliveries: Deliveries, result: PipelineResult) -> Judge:
        judge = Judge(odd, int(_dead_letter_bytes_max(odd)))
        judge.take_scores(self._read(pipeline.scores.topic))
        judge.take_dead_letters(self._read(pipeline.dead_letters))
        result.positions = judge.judge(deliveries.found(self._read(*odd.sources)))
        judgement: Judgement = judge.judgement
        result.outcomes, result.mismatches = judgement.outcomes, [*result.mismatches, *judgement.mismatches]
        result.wrong += judgement.wrong
        result.rejected_reasons = deliveries.rejected
        result.rejected_records = deliveries.records - result.positions
        for difference in deliveries.differences(odd.event_bytes_max):
            result.add(difference)
        if odd.settings["features.record"]:
            recorded = sum(1 for _ in self._read(pipeline.recorded))
            if recorded != judgement.outcomes["score"]:
                result.add(f"{recorded} feature records for {judgement.outcomes['score']} scores")
        return judge

    def _read(self, *topics: str) -> Iterator[ReadRecord]:
        return read_topics(self._kafka, topics, self._stop)

    def _check_counts(self, member: Member, odd: OddPipeline, judge: Judge, result: PipelineResult) -> None:
        """Compare the worker's own counts, each of all records of a topic that it committed, with the records.

        A fact leaves no output that could be read; tombstones and dead letters count as the other records do. The
        worker counts after the commit that was waited for.
        """
        for topic in odd.sources:
            wanted = judge.judgement.records[topic]
            metric = EVENTS_COUNTED if topic == odd.events_topic else FACTS_COUNTED
            until = self._clock.monotonic() + COUNTED_SECONDS
            while (counted := member.total(metric, topic=topic)) != wanted:
                if self._clock.monotonic() > until:
                    result.add(f"{metric} of {topic} is {counted:.0f}, and the topic has {wanted} records")
                    break
                self._pause()

    def _check_memory(self, odd: OddPipeline, result: PipelineResult) -> None:
        settings = load(dict(odd.settings))
        result.resident_bound = resident_bound(settings, keeps_state=odd.keeps_state, record_bytes_max=odd.size_max)
        if result.positions and not result.resident_peak:
            result.add("the resident size of the worker is not known")
        if result.resident_peak > result.resident_bound:
            result.add(f"resident size of {result.resident_peak:,} bytes; the bound is {result.resident_bound:,}")


def _configs(odd: OddPipeline, pipeline: Pipeline, project: OddProject) -> dict[str, dict[str, str]]:
    """Return the configurations of the topics of a pipeline."""
    large = {"max.message.bytes": _dead_letter_bytes_max(odd)}
    given = {topic: _ANY_TIME | {"max.message.bytes": str(odd.event_bytes_max)} for topic in odd.sources}
    given |= {pipeline.dead_letters: large, pipeline.recorded: large}
    given |= {pipeline.scores.topic: {"max.message.bytes": str(odd.score_bytes_max)}}
    for topic, config in project.configs.items():
        given[topic] = given.get(topic, {}) | config
    return {topic: _SOON | config for topic, config in given.items()}


def _dead_letter_bytes_max(odd: OddPipeline) -> str:
    return str(odd.event_bytes_max + _DEAD_LETTER_EXTRA_BYTES)


def _committed(group: CommittedOffsets, before: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
    """Return the committed offsets; those of before while the coordinator of a new group does not answer."""
    try:
        return group.required()
    except BrokerError:
        return before


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-6:])[-900:]
