"""The cost of growing state: with a million keys, with few and with many tasks, and for a restore."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ops.bench.benchmark_run import BenchEnvironment, prepared_run, rounds
from ops.bench.contender_args import ContenderArgs
from ops.bench.contenders import START_SECONDS, Contender, cpu_seconds, running, tail
from ops.bench.jobs import Payments
from ops.bench.rates import growth
from surgetank.errors import SurgetankError
from surgetank.http.http_get import answer
from surgetank.kafka.local.broker import free_ports
from surgetank.telemetry.exposition_parser import sample_total

KEYS = 1_000_000
TASKS = (4, 64)
EVENTS = 1_000_000
MEASURED = ("hand_state", "surgetank")
LOOK_SECONDS = 0.05
RESTORE_SECONDS = 120.0


def measure(
    target: BenchEnvironment, chosen: list[Contender], found: dict[str, dict[str, Any]], number_of: int, share: float
) -> dict[str, Any]:
    """Return rates with a million keys and with few and many partitions, growth of the CPU per event, and restores.

    ``found``: the rates with ten thousand keys and eight partitions.
    """
    measured = [each for each in chosen if each.key in MEASURED]
    report: dict[str, Any] = {"keys": {}, "tasks": {}, "restore": {}, "growth": {}}
    if not measured:
        return report
    many = Payments(KEYS)
    events = many.warm + round(EVENTS * share)
    with prepared_run(target, many, events) as run:
        report["keys"] = rounds(run, [replace(each, events=events) for each in measured], number_of)
        for each in measured:
            target.reporter.doing(f"restoring {each.title}")

            def again(job: ContenderArgs, log: Path, contender: Contender = each) -> None:
                records = run.changelog_records(job)
                report["restore"][contender.key] = restored(contender, job, log, records)

            run.run(replace(each, events=events), afterwards=again)
            target.reporter.say(f"{each.title:<28} restored {_words(report['restore'][each.key])}")
    few = Payments()
    for partitions in TASKS:
        events = few.warm + round(EVENTS * share)
        with prepared_run(target, few, events, partitions) as run:
            so_many = [replace(each, events=events, partitions=partitions) for each in measured]
            report["tasks"][str(partitions)] = rounds(run, so_many, number_of)
    least, most = (report["tasks"][str(partitions)] for partitions in TASKS)
    report["growth"] = {
        each.key: {
            "cpu_per_event_from_10k_to_1m_keys": growth(found[each.key], report["keys"][each.key]),
            "cpu_per_event_from_4_to_64_tasks": growth(least[each.key], most[each.key]),
        }
        for each in measured
    }
    for each in measured:
        grown = ", ".join(
            f"{what.replace('_', ' ')}: {times:.2f}x" for what, times in report["growth"][each.key].items()
        )
        target.reporter.say(f"{each.title:<28} {grown}")
    return report


def restored(contender: Contender, job: ContenderArgs, log: Path, records: int) -> dict[str, Any]:
    """Start a contender again without its local state, and return the duration and the rate of the restore.

    Raises SurgetankError, with the end of its log, if it does not restore its state.
    """
    shutil.rmtree(job.folder)
    log = log.with_suffix(".restore.log")
    port = free_ports(1)
    look: Callable[[], tuple[int, float] | None]
    with running(contender, job, log, {"SURGETANK_TELEMETRY__PORT": str(port)}) as process:
        look = _told(log) if contender.guarantee != "exactly once" else _Page(port).look
        give_up = time.monotonic() + START_SECONDS + RESTORE_SECONDS
        while (answer := look()) is None:
            if process.poll() is not None or time.monotonic() > give_up:
                raise SurgetankError(f"{contender.title} was not restored; its log {log} ends:\n{tail(log)}")
            time.sleep(LOOK_SECONDS)
        cpu = cpu_seconds(process)
    restored_records, seconds = answer
    return {
        "changelog_records": records,
        "records": restored_records,
        "seconds": round(seconds, 2),
        "records_per_second": round(restored_records / seconds, 1),
        "cpu_seconds_since_start": round(cpu, 2),
    }


def _told(log: Path) -> Callable[[], tuple[int, float] | None]:
    """Return a function that finds the line in which the hand-written loop reports its restore."""

    def look() -> tuple[int, float] | None:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith('{"restored"'):
                report = json.loads(line)
                return int(report["restored"]), float(report["seconds"])
        return None

    return look


class _Page:
    """Polls the metrics of a worker, from the first sample with a restore until nothing remains."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._began: float | None = None

    def look(self) -> tuple[int, float] | None:
        """Return records and seconds when the restore is complete."""
        page = answer(self._url, timeout=2)
        if page is None:
            return None
        now = time.monotonic()
        records, left = (
            sample_total(page, "surgetank_restore_records_total"),
            sample_total(page, "surgetank_restore_remaining_records"),
        )
        if self._began is None:
            if records or left:
                self._began = now - LOOK_SECONDS
            return None
        if left or not sample_total(page, "surgetank_ready"):
            return None
        return int(records), now - self._began


def _words(report: dict[str, Any]) -> str:
    return f"{report['records']:,} records in {report['seconds']:.1f} s, {report['records_per_second']:,.0f}/s"
