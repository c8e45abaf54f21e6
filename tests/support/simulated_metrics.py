"""The series of two workers and a lag exporter as arrays over time. Normal unless a test changes them."""

from dataclasses import dataclass, field

import numpy as np

from ops.alerts import objectives as o

Floats = np.ndarray
TOPIC = "flights.boarding"
FACTS = "flights.facts"
REASONS = {"undecodable": "decode", "model_error": "infer", "not_a_number": "infer"}
SIGNALS = ("arrival_rate", "latency", "error_rate", "score_psi", "score_ks", "missing:distance")


@dataclass
class Worker:
    """One worker at each step. ``born`` are the steps at which a process started; before, it does not exist."""

    rate: Floats  # events per second
    late: Floats  # share of events scored too late
    dead: dict[str, Floats]  # share of dead letters, by reason
    implausible: Floats  # share of events with an implausible time
    commits: Floats  # transactions per second
    aborts: Floats  # transactions per second
    rebalances: Floats  # since the previous step
    expired: Floats  # events since the previous step
    gone: Floats  # scrapes fail
    ready: Floats
    remaining: Floats
    disk: Floats
    foreign_members: Floats
    foreign_offsets: Floats  # since the previous step
    copartitioning: Floats
    clock_difference: Floats  # seconds
    model_version: Floats  # whole numbers
    canary: Floats  # 1 while it serves one
    born: list[int] = field(default_factory=lambda: [0])


class World:
    """A pipeline named flights; ``step`` is the scrape interval in seconds."""

    def __init__(self, seconds: int, step: int = 5, *, workers: int = 2, partitions: int = 4, seed: int = 1) -> None:
        self.step = step
        self.steps = seconds // step + 1
        self.seconds = np.arange(self.steps) * float(step)
        self.random = np.random.default_rng(seed)
        self.workers = [self.worker() for _ in range(workers)]
        self.lag = self.random.gamma(2.0, 0.05, (partitions, self.steps))
        self.status = np.zeros((partitions, self.steps))
        self.open_transaction = np.full((partitions, self.steps), np.nan)  # seconds
        self.exporter_up = np.ones(self.steps)
        self.anomalies = {signal: np.zeros(self.steps) for signal in SIGNALS}

    def worker(self, rate: float = 100.0) -> Worker:
        """Add a worker in normal operation and return it."""
        return Worker(
            rate=np.maximum(0.0, self.random.normal(rate, rate / 20, self.steps)),
            late=np.zeros(self.steps),
            dead={reason: np.zeros(self.steps) for reason in REASONS},
            implausible=np.zeros(self.steps),
            commits=np.full(self.steps, 8.0),
            aborts=np.zeros(self.steps),
            rebalances=np.zeros(self.steps),
            expired=np.zeros(self.steps),
            gone=np.zeros(self.steps, dtype=bool),
            ready=np.ones(self.steps),
            remaining=np.zeros(self.steps),
            disk=np.full(self.steps, 2.0**30),
            foreign_members=np.zeros(self.steps),
            foreign_offsets=np.zeros(self.steps),
            copartitioning=np.zeros(self.steps),
            clock_difference=np.zeros(self.steps),
            model_version=np.ones(self.steps),
            canary=np.full(self.steps, np.nan),
        )

    def at(self, second: float, seconds: float = np.inf) -> slice:
        """Return the steps from ``second`` on, for ``seconds``."""
        end = min(second + seconds, self.seconds[-1] + self.step)
        return slice(int(second // self.step), int(end // self.step))

    def ramp(self, when: slice, slope: float) -> Floats:
        """Return values that grow from 0 by ``slope`` per second during these steps."""
        return np.arange(when.stop - when.start) * slope * self.step

    def restart(self, worker: Worker, second: float, gone: float = 15.0) -> None:
        """Restart a worker; its partitions move to the others and back, some events are delayed."""
        away = self.at(second, max(gone, self.step))
        worker.gone[away] = True
        worker.born.append(away.stop)
        worker.ready[self.at(away.stop * self.step, 10)] = 0
        for each in self.workers:
            each.rebalances[away.start] += 1
            each.rebalances[min(away.stop, self.steps - 1)] += 1
            each.aborts[away.start] += 1 / self.step
        self.lag[:, away] += self.random.uniform(0.2, 3.0, self.lag[:, away].shape)

    def surge(self, second: float, peak: float, seconds: float = 60.0) -> None:
        """Add a surge: the lag rises for a third of the time and drains in the rest."""
        when = self.at(second, seconds)
        share = np.linspace(0, 1, when.stop - when.start)
        self.lag[:, when] += peak * np.minimum(share * 3, (1 - share) * 1.5)
        for worker in self.workers:
            worker.rate[when] *= 3

    def series(self) -> dict[str, str]:
        """Return all series in promtool's notation."""
        found: dict[str, Floats] = {}
        for number, worker in enumerate(self.workers):
            found |= self._of(worker, f"worker-{number}:9100", number)
        scraped = f'job="{o.EXPORTER_JOB}",instance="exporter:9308"'
        found[f"surgetank_exporter_up{{{scraped}}}"] = self.exporter_up
        found[f"process_start_time_seconds{{{scraped}}}"] = np.zeros(self.steps)
        seen = np.where(self.exporter_up > 0, 1.0, np.nan)
        for partition, (lag, status) in enumerate(zip(self.lag, self.status, strict=True)):
            labels = f'{scraped},group="flights",topic="{TOPIC}",partition="{partition}"'
            found[f"surgetank_group_lag_seconds{{{labels}}}"] = lag * seen
            found[f"surgetank_group_lag_status{{{labels}}}"] = status * seen
            found[f"surgetank_group_open_transaction_seconds{{{labels}}}"] = self.open_transaction[partition] * seen
        return {name: notation(values) for name, values in found.items()}

    def _of(self, worker: Worker, instance: str, number: int) -> dict[str, Floats]:
        """Return the series of one worker, by full name."""
        grown = worker.rate * self.step
        dead = {reason: share * grown for reason, share in worker.dead.items()}
        timed = grown - sum(dead.values())
        counters = {
            "end_to_end_seconds_count": timed,
            f'end_to_end_seconds_bucket,le="{o.SCORED_WITHIN_SECONDS}"': timed * (1 - worker.late),
            f'events_scored_total,topic="{TOPIC}"': timed,
            f'events_received_total,topic="{TOPIC}"': grown,
            f'implausible_times_total,topic="{TOPIC}"': worker.implausible * grown,
            'transactions_total,outcome="committed"': worker.commits * self.step,
            'transactions_total,outcome="aborted"': worker.aborts * self.step,
            'rebalances_total,change="assigned"': worker.rebalances,
            f'events_expired_total,topic="{TOPIC}"': worker.expired,
            f'foreign_offsets_total,topic="{TOPIC}"': worker.foreign_offsets,
            **{f'events_dead_total,stage="{REASONS[reason]}",reason="{reason}"': rows for reason, rows in dead.items()},
        }
        gauges = {
            "ready": worker.ready,
            "restore_remaining_records": worker.remaining,
            "state_disk_bytes": worker.disk,
            "foreign_members": worker.foreign_members,
            f'copartitioning,topic="{FACTS}"': worker.copartitioning,
            "clock_difference_seconds": worker.clock_difference,
            **{f'anomaly,signal="{signal}"': values for signal, values in self.anomalies.items()},
        }
        for partition in range(number, len(self.lag), len(self.workers)):
            labels = f'topic="{TOPIC}",partition="{partition}"'
            gauges[f"lag_seconds,{labels}"] = self.lag[partition]
            gauges[f"lag_status,{labels}"] = self.status[partition]
            gauges[f"open_transaction_seconds,{labels}"] = self.open_transaction[partition]
        told = gauges | {name: self._counted(rows, worker.born) for name, rows in counters.items()}
        for birth, (start, end) in enumerate(zip(worker.born, [*worker.born[1:], self.steps], strict=True)):
            task_epochs = np.full(self.steps, np.nan)
            task_epochs[start:end] = 1
            told[f'worker_info,worker="{number}-{birth}",pipeline="flights"'] = task_epochs
        for version in np.unique(worker.model_version):
            served = np.where(worker.model_version == version, 1.0, np.nan)
            told[f'model_info,model="flights-late",version="{version:.0f}",role="primary"'] = served
        told['model_info,model="flights-late",version="2",role="canary"'] = worker.canary
        told["process_start_time_seconds"] = np.zeros(self.steps)
        for start in worker.born:
            told["process_start_time_seconds"][start:] = self.seconds[min(start, self.steps - 1)]
        scraped = f'job="{o.WORKERS_JOB}",instance="{instance}"'
        here = np.arange(self.steps) >= worker.born[0]
        page = np.where(here & ~worker.gone, 1.0, np.nan)
        found = {f"up{{{scraped}}}": np.where(here, np.where(worker.gone, 0.0, 1.0), np.nan)}
        for name, values in told.items():
            metric, _, labels = name.partition(",")
            full = metric if metric.startswith("process") else f"surgetank_{metric}"
            found[f"{full}{{{scraped}{',' if labels else ''}{labels}}}"] = values * page
        return found

    def _counted(self, rows: Floats, born: list[int]) -> Floats:
        """Return a counter with these increments per step, which restarts at 0 with each process."""
        total = np.cumsum(rows)
        for start in born[1:]:
            total[start:] -= total[start - 1]
        return total


def notation(values: Floats) -> str:
    """Return values in promtool's notation; an absent value is preceded by a stale marker."""
    words = []
    absent = True
    for value in values.tolist():
        if value != value:
            words.append("_" if absent else "stale")
            absent = True
        else:
            words.append(f"{value:.6g}")
            absent = False
    return " ".join(words)
