"""Kills workers and brokers under load, then verifies every event and the state of every key."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgetank.drills.audit import audit
from surgetank.drills.drill import Drill
from surgetank.drills.environment import DrillEnvironment
from surgetank.drills.faults import KILLS, Fault, ScheduledFault, schedule
from surgetank.drills.replay import Replay
from surgetank.drills.report import DrillReport
from surgetank.drills.state_check import compare_states, summary
from surgetank.drills.wire import encoder
from surgetank.errors import SurgetankError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.broker_inspection import broker_settings
from surgetank.kafka.topic_reader import CommittedOffsets

WORKERS = 2
WORKERS_MAX = 4
FREEZE_SECONDS = 9.0  # longer than the session timeout of both protocols, which is 6 s
BROKER_DOWN_SECONDS = 3.0
DRAIN_SECONDS = 60.0

# Workers hold many fetched and uncommitted events, so that a kill hits many events in every stage.
WORKER_SETTINGS: dict[str, Any] = {
    "worker.buffered_rows_max": 150_000,
    "worker.batch_rows_max": 4096,
    "worker.commit_interval_seconds": 0.5,
}
TIMEOUTS = (
    "group.consumer.session.timeout.ms",
    "group.consumer.heartbeat.interval.ms",
    "group.min.session.timeout.ms",
    "broker.session.timeout.ms",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms",
)


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """The plan of a chaos run. ``backlog`` events are sent before the first worker starts, then ``rate`` per second."""

    kills: int
    seed: int
    brokers: int = 3
    rate: float = 3000.0
    backlog: int = 120_000
    mean_seconds: float = 2.0

    def pace(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Return the send time of each event in seconds from the start: float64 [stop - start]."""
        due: npt.NDArray[np.float64] = np.maximum(0, np.arange(start, stop) - self.backlog) / self.rate
        return due


@dataclass(frozen=True, slots=True)
class ChaosReport(DrillReport):
    """The result of a chaos run. ``timeouts`` are the settings in force; ``in_play_peak`` is the greatest number of
    events that were sent and not yet committed after the first worker had started."""

    seed: int
    kills: int
    blows: dict[str, int]
    exits: dict[str, int]
    seconds: float
    sent: int
    in_play_peak: int
    timeouts: dict[str, str | None]
    audit: dict[str, Any]
    states: list[dict[str, Any]]

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        audit = self.audit
        return [
            f"timeouts: {', '.join(f'{name}={value}' for name, value in self.timeouts.items())}",
            f"faults:   {', '.join(f'{name} {count}' for name, count in self.blows.items())}",
            f"exits:    {', '.join(f'{name}: {count}' for name, count in self.exits.items()) or 'none'}",
            (
                f"chaos seed {self.seed}: {self.kills} kills in {self.seconds:.0f} s, {audit['events']:,} events "
                f"({self.in_play_peak:,} in play at the peak): scores {audit['scores']:,}, "
                f"dead letters {audit['dead_letters']:,}, filtered {audit['filtered']:,}, lost {audit['lost']}, "
                f"duplicates {audit['duplicates']}, "
                f"unexpected {audit['unexpected']}, out of order {audit['out_of_order']}"
            ),
            *map(summary, self.states),
        ]

    @property
    def passed(self) -> bool:
        """Whether no event was lost, duplicated, unexpected or out of order, and the state of every key is right."""
        return bool(self.audit["ok"]) and all(state["ok"] for state in self.states)


class Chaos(Drill):
    """One chaos run by a plan."""

    def __init__(self, environment: DrillEnvironment, plan: ChaosPlan, *, say: Callable[[str], None]) -> None:
        super().__init__(environment, say, WORKER_SETTINGS)
        self._plan = plan
        self._settings = WORKER_SETTINGS | environment.settings
        self._fault_counts: Counter[str] = Counter()
        self._exits: Counter[str] = Counter()
        self._stopped_broker: int | None = None  # the broker that is down
        self._delayed_actions: list[tuple[float, Callable[[], None]]] = []
        self._in_play_peak = 0

    def run(self) -> ChaosReport:
        """Run the plan. Raises SurgetankError if the system does not recover by itself."""
        started = self._clock.monotonic()
        provisioning.apply(self._kafka, self._pipeline)
        self._committed = CommittedOffsets(self._kafka, self._pipeline.group, *self._pipeline.sources)
        self._settings_of_brokers = broker_settings(clients.admin(self._kafka), self._cluster.ids[0])
        self._replay = replay = Replay(self._kafka, self._recording, self._plan.pace, encoder(), count=10**9)
        with self._fleet:
            with replay.in_background() as sending:
                while replay.acknowledged < self._plan.backlog and not sending.done():
                    time.sleep(0.1)
                members = [self._fleet.start() for _ in range(WORKERS)]
                self._sample_in_play()
                for member in members:
                    self._fleet.wait_ready(member)
                self._say(f"{WORKERS} workers ready over a backlog of {replay.acknowledged} events")
                self._inject_faults()
            sent = sending.result()
            if not sent.complete:
                raise SurgetankError(f"the sender could not deliver {sent.failed} events: {sent.error}")
            self._recover()
            audited = audit(self._kafka, self._pipeline, wait=DRAIN_SECONDS)
            states = compare_states(self._kafka, self._pipeline) if self._pipeline.changelogs else []
            for state in states:
                self._say(state.line)
            for member in self._fleet.running:
                self._exits[f"clean stop, status {self._fleet.stop(member)}"] += 1
        return ChaosReport(
            seed=self._plan.seed,
            kills=sum(self._fault_counts[fault] for fault in KILLS),
            blows={fault.value: self._fault_counts[fault] for fault in Fault},
            exits=dict(self._exits),
            seconds=round(self._clock.monotonic() - started, 1),
            sent=sent.sent,
            in_play_peak=self._in_play_peak,
            timeouts=self._timeouts(),
            audit=audited.as_dict(),
            states=[state.as_dict() for state in states],
        )

    def _inject_faults(self) -> None:
        plan = self._plan
        for scheduled in schedule(plan.seed, plan.kills, brokers=plan.brokers, mean_seconds=plan.mean_seconds):
            self._wait(scheduled.after)
            self._replace_exited_workers()
            self._inject(scheduled)

    def _inject(self, scheduled: ScheduledFault) -> None:
        if scheduled.fault is Fault.KILL_BROKER:
            if self._stopped_broker is not None:  # a second broker down of three: no write would succeed
                self._restart_broker(self._stopped_broker)
            self._stopped_broker = broker = self._cluster.ids[int(scheduled.target * len(self._cluster.ids))]
            self._cluster.kill(broker)
            self._run_later(BROKER_DOWN_SECONDS, lambda: self._restart_broker(broker))
            self._record_fault(scheduled.fault, f"broker {broker}")
            return
        members = self._fleet.running
        if scheduled.fault is Fault.ADD_WORKER or not members:
            if len(members) < WORKERS_MAX:
                self._record_fault(Fault.ADD_WORKER, self._fleet.start().name)
            return
        member = members[int(scheduled.target * len(members))]
        if scheduled.fault is Fault.KILL_WORKER:
            self._fleet.kill(member)
            self._fleet.start()
        elif scheduled.fault is Fault.STOP_WORKER:
            member.reported = True
            self._exits[f"clean stop, status {self._fleet.stop(member)}"] += 1
            self._fleet.start()
        else:
            self._fleet.pause(member)
            self._run_later(FREEZE_SECONDS, lambda: self._fleet.resume(member))
        self._record_fault(scheduled.fault, member.name)

    def _record_fault(self, fault: Fault, target: str) -> None:
        self._fault_counts[fault] += 1
        kills = sum(self._fault_counts[kill] for kill in KILLS)
        self._say(f"{kills:4d}/{self._plan.kills}  {fault.value:14s} {target}")

    def _restart_broker(self, broker: int) -> None:
        if self._stopped_broker == broker:
            self._cluster.start(broker)
            self._cluster.wait_in_sync(60)
            self._stopped_broker = None

    def _replace_exited_workers(self) -> None:
        """Replace workers that exited by themselves, as an orchestrator does. The report has their exit codes."""
        for member in self._fleet.members.values():
            if not member.running and member.process.returncode not in (0, -9) and not member.reported:
                member.reported = True
                self._exits[f"by itself, status {member.process.returncode}"] += 1
                self._say(f"           {member.name} ended by itself with status {member.process.returncode}")
        while len(self._fleet.running) < WORKERS:
            self._fleet.start()

    def _run_later(self, seconds: float, action: Callable[[], None]) -> None:
        self._delayed_actions.append((self._clock.monotonic() + seconds, action))

    def _wait(self, seconds: float) -> None:
        """Wait for ``seconds``, running scheduled actions when they are due."""
        until = self._clock.monotonic() + seconds
        while (remaining := until - self._clock.monotonic()) > 0 or self._due():
            for entry in self._due():
                self._delayed_actions.remove(entry)
                entry[1]()
            self._sample_in_play()
            time.sleep(max(0.0, min(remaining, 0.2)))

    def _due(self) -> list[tuple[float, Callable[[], None]]]:
        now = self._clock.monotonic()
        return [entry for entry in self._delayed_actions if entry[0] <= now]

    def _sample_in_play(self) -> None:
        committed = self._committed.total(timeout=0.5)
        if committed is not None:
            self._in_play_peak = max(self._in_play_peak, self._replay.acknowledged - committed)

    def _recover(self) -> None:
        """Restart and resume everything that is down or paused; the running processes must recover by themselves."""
        for _, action in self._delayed_actions:
            action()
        self._delayed_actions = []
        self._replace_exited_workers()
        self._cluster.wait_in_sync(60)
        self._say("no more faults: draining")

    def _timeouts(self) -> dict[str, str | None]:
        settings = self._settings_of_brokers
        kafka = self._kafka
        return {name: settings[name].value for name in TIMEOUTS if name in settings} | {
            "kafka.session_timeout_seconds (classic)": f"{kafka.session_timeout_seconds:g}",
            "kafka.transaction_timeout_seconds": f"{kafka.transaction_timeout_seconds:g}",
            **{name: str(value) for name, value in self._settings.items()},
        }
