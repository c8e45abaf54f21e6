"""Measures how soon the partitions of a worker with many keys are served again after it was killed or stopped.

One worker owns all partitions of a group and is killed under light load. A partition is served again when a reader of
committed scores has received the score of an event that was sent after the fault.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surgetank.declaration import Pipeline
from surgetank.drills.audit import audit
from surgetank.drills.drill import Drill
from surgetank.drills.environment import DrillEnvironment
from surgetank.drills.fleet import Member
from surgetank.drills.pacing import at_rate
from surgetank.drills.replay import Replay
from surgetank.drills.report import DrillReport
from surgetank.drills.state_check import compare_states, summary
from surgetank.drills.synthetic_keys import SyntheticKeys
from surgetank.drills.topic_listener import TopicListener
from surgetank.drills.wire import encoder, score_decoder
from surgetank.errors import SurgetankError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.broker_inspection import broker_settings
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.records import RecordBatch
from surgetank.telemetry.exposition_parser import sample_total

WAIT_SECONDS = 180.0
METRICS_SECONDS = 0.25  # the shortest interval between scrapes of a restoring worker; each costs it milliseconds
CALM_SECONDS = 3.0  # between two faults, so that delayed scores arrive before the next fault

GOAL_EMPTY_SECONDS = 10.0  # plus the session timeout
GOAL_OWN_SECONDS = 4.0
GOAL_RECORDS_PER_SECOND = 200_000


@dataclass(frozen=True, slots=True)
class RestoreRound:
    """The recovery of a worker. Seconds count from the fault; ``started`` is the start of the new process.

    ``accepted`` is when the group assigned its first partition, ``served`` when the last partition was served again;
    ``restored`` are changelog records, ``restoring`` the seconds for them, ``cpu`` the CPU seconds of the process.
    """

    started: float
    accepted: float
    served: float
    restored: int
    restoring: float
    cpu: float

    @property
    def rate(self) -> float:
        """Changelog records restored per second; 0 if there were none."""
        return self.restored / self.restoring if self.restoring else 0.0

    @property
    def cpu_rate(self) -> float:
        """Changelog records restored per CPU second of the worker, independent of other load; 0 if there were none."""
        return self.restored / self.cpu if self.cpu else 0.0


@dataclass(frozen=True, slots=True)
class RestoreReport(DrillReport):
    """The measurements. ``empty``: killed and replaced by a worker without local state; ``own``: killed and restarted
    under the same name; ``clean``: stopped and restarted under the same name."""

    protocol: str
    keys: int
    changelog_records: int
    session_seconds: float
    empty: list[RestoreRound]
    own: list[RestoreRound]
    clean: list[RestoreRound]
    audit: dict[str, Any]
    states: list[dict[str, Any]]
    goals: dict[str, bool] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        table = [f"{'seconds, medians':42s} started  accepted  served   records restored  a second  a CPU second"]
        for label, rounds in (
            ("killed, a successor with an empty disk", self.empty),
            ("killed, started again on its own disk", self.own),
            ("stopped, started again on its own disk", self.clean),
        ):
            started, accepted, served, restored, rate, cpu_rate = (
                statistics.median(getattr(each, name) for each in rounds)
                for name in ("started", "accepted", "served", "restored", "rate", "cpu_rate")
            )
            table.append(
                f"{label:42s} {started:7.1f} {accepted:9.1f} {served:7.1f} {restored:18,.0f} {rate:9,.0f} "
                f"{cpu_rate:13,.0f}"
            )
        return [
            f"{self.keys:,} keys, {self.changelog_records:,} changelog records, session {self.session_seconds:g} s",
            *table,
            f"lost {self.audit['lost']}, duplicates {self.audit['duplicates']}",
            *map(summary, self.states),
            *(f"{'met   ' if met else 'MISSED'} {goal}" for goal, met in self.goals.items()),
        ]

    @property
    def passed(self) -> bool:
        """Whether no event was lost or duplicated and no state is wrong. Time goals are only reported."""
        return bool(self.audit["ok"]) and all(state["ok"] for state in self.states)


def goals(session_seconds: float, empty: list[RestoreRound], own: list[RestoreRound]) -> dict[str, bool]:
    """Return the goals and whether they were met, by medians. Pure."""
    bound = session_seconds + GOAL_EMPTY_SECONDS
    return {
        f"from an empty disk <= session timeout + {GOAL_EMPTY_SECONDS:.0f} s": statistics.median(
            each.served for each in empty
        )
        <= bound,
        f"on its own disk <= {GOAL_OWN_SECONDS:.0f} s after it was accepted": statistics.median(
            each.served - each.accepted for each in own
        )
        <= GOAL_OWN_SECONDS,
        f"restoring >= {GOAL_RECORDS_PER_SECOND:,} records a second": statistics.median(each.rate for each in empty)
        >= GOAL_RECORDS_PER_SECOND,
    }


class RestoreRate:
    """The number of changelog records that a worker restored, and the time in which the number rose."""

    def __init__(self) -> None:
        self.records = 0
        self._from = self._to = self._at = (0.0, 0.0)

    def due(self, at: float) -> bool:
        """Return whether the next sample is due."""
        return at - self._at[0] >= METRICS_SECONDS

    def sample(self, records: float, at: float, cpu: float) -> None:
        """Add a sample: the worker's record count at a time, and its CPU seconds."""
        self._at = (at, cpu)
        if not records:
            self._from = self._to = self._at
        elif records > self.records:
            self.records, self._to = round(records), self._at

    @property
    def seconds(self) -> float:
        """The time from the last sample with no records to the first with all of them, in seconds."""
        return round(self._to[0] - self._from[0], 3)

    @property
    def cpu(self) -> float:
        """The CPU seconds of that interval."""
        return round(self._to[1] - self._from[1], 3)


class FirstScores:
    """The last scored event of each partition, as seen by a reader of committed scores."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._decode = score_decoder(pipeline)
        self._reached: dict[int, int] = {}

    def add(self, records: RecordBatch) -> None:
        """Add records that have just arrived."""
        columns = self._decode(records).columns
        partitions, offsets = columns["source_partition"].to_numpy(), columns["source_offset"].to_numpy()
        for partition in np.unique(partitions).tolist():
            self._reached[partition] = int(offsets[partitions == partition].max())  # offsets increase

    def all(self, ends: dict[int, int]) -> bool:
        """Return whether each partition has the score of an event at or after these offsets."""
        return all(self._reached.get(partition, -1) >= end for partition, end in ends.items())


class RestoreDrill(Drill):
    """Ends the owner of ``keys`` keys three ways in each of ``rounds`` rounds, under ``rate`` events per second."""

    def __init__(
        self,
        environment: DrillEnvironment,
        *,
        keys: int,
        rounds: int,
        rate: float,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(environment, say)
        self._synthetic_keys = SyntheticKeys(self._pipeline, self._recording, keys)
        self._rounds = rounds
        self._rate = rate
        self._served = FirstScores(self._pipeline)

    def run(self) -> RestoreReport:
        """Run the drill. Raises SurgetankError if the pipeline has no tables, or a worker does not recover."""
        if not self._pipeline.table_states:
            raise SurgetankError(f"pipeline {self._pipeline.name!r} has no state: there is nothing to restore")
        provisioning.apply(self._kafka, self._pipeline)
        self._offsets = GroupOffsets(self._kafka, self._pipeline.group, self._pipeline.sources)
        self._say(f"sending {self._synthetic_keys.keys:,} keys")
        self._synthetic_keys.fill(self._kafka)
        replay = Replay(self._kafka, self._synthetic_keys.events, at_rate(self._rate), encoder(), count=10**9)
        empty: list[RestoreRound] = []
        own: list[RestoreRound] = []
        clean: list[RestoreRound] = []
        listener = TopicListener(self._kafka, self._pipeline.scores.topic, self._served.add, self._clock, WAIT_SECONDS)
        self._until = listener.until
        with self._fleet, listener:
            owner = self._fleet.start()
            self._until(lambda: self._lag() == 0, "all of its state", owner)
            records = self._changelog_records()
            self._say(f"all keys are in the state: {records:,} changelog records")
            with replay.in_background() as sending:
                ends = self._ends()
                self._until(lambda: self._served.all(ends), "scores of all partitions", owner)
                for number in range(self._rounds):
                    self._say(f"round {number + 1} of {self._rounds}")
                    owner = self._measure_recovery(empty, owner, self._fleet.kill, "")
                    owner = self._measure_recovery(own, owner, self._fleet.kill, owner.name)
                    owner = self._measure_recovery(clean, owner, self._fleet.stop, owner.name)
            sending.result()
            audited = audit(self._kafka, self._pipeline, wait=WAIT_SECONDS)
            self._say("comparing the state of every key")
            states = compare_states(self._kafka, self._pipeline)
        session = self._session_seconds()
        return RestoreReport(
            protocol=self._kafka.group_protocol,
            keys=self._synthetic_keys.keys,
            changelog_records=records,
            session_seconds=session,
            empty=empty,
            own=own,
            clean=clean,
            audit=audited.as_dict(),
            states=[state.as_dict() for state in states],
            goals=goals(session, empty, own),
        )

    def _measure_recovery(
        self, rounds: list[RestoreRound], owner: Member, end: Callable[[Member], object], name: str
    ) -> Member:
        """Kill or stop the owner, start a worker of that name (none: a new name) instead, and measure its recovery."""
        self._until(lambda: self._lag() < self._rate, "no backlog", owner)
        time.sleep(CALM_SECONDS)
        since = self._clock.monotonic()
        end(owner)
        ends = self._ends()
        successor = self._fleet.start(name=name)
        started = self._clock.monotonic() - since
        accepted = self._until(
            lambda: successor.total("surgetank_rebalances_total", change="assigned") > 0, "partitions", successor, since
        )
        restoring = RestoreRate()

        def sample() -> None:
            page = successor.ask("/metrics") or ""
            restored, cpu = (
                sample_total(page, name) for name in ("surgetank_restore_records_total", "process_cpu_seconds_total")
            )
            restoring.sample(restored, self._clock.monotonic(), cpu)

        def serves() -> bool:
            if restoring.due(self._clock.monotonic()):
                sample()
            return self._served.all(ends)

        served = self._until(serves, "scores of all partitions", successor, since)
        sample()
        measured = RestoreRound(
            started=round(started, 2),
            accepted=round(accepted, 2),
            served=round(served, 2),
            restored=restoring.records,
            restoring=restoring.seconds,
            cpu=restoring.cpu,
        )
        self._say(
            f"  {successor.name}: accepted after {accepted:.1f} s, serves after {served:.1f} s, "
            f"{measured.restored:,} records restored, {measured.rate:,.0f} a second"
        )
        rounds.append(measured)
        return successor

    def _lag(self) -> int:
        return sum(each.lag for each in self._offsets.now())

    def _ends(self) -> dict[int, int]:
        """Return the current end offset of the events in each partition."""
        return {
            each.source.partition: each.end
            for each in self._offsets.now()
            if each.source.topic == self._pipeline.events.topic
        }

    def _changelog_records(self) -> int:
        return sum(
            each.end - each.start
            for each in GroupOffsets(self._kafka, self._pipeline.group, list(self._pipeline.changelogs.values())).now()
        )

    def _session_seconds(self) -> float:
        """Return the session timeout of the group in seconds."""
        if self._kafka.group_protocol == "classic":
            return self._kafka.session_timeout_seconds
        settings = broker_settings(clients.admin(self._kafka), self._cluster.ids[0])
        return int(settings["group.consumer.session.timeout.ms"].value or 0) / 1000
