"""Measures the dead-letter tool: ``python -m ops.bench.dead_letters``.

A worker with a wrong setting turns flights into dead letters; a right one replaces it. A replay of all of them is
killed twice and run to its end; each event must have one score, and the audit must be clean. Then a wrong worker makes
more dead letters, up to a million, which are counted and listed by reason. Ends with an error if a promise is broken.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from surgetank.declaration import SCORE, Pipeline
from surgetank.drills.audit import audit
from surgetank.drills.fleet import Fleet
from surgetank.drills.pacing import at_rate
from surgetank.drills.replay import Replay
from surgetank.drills.wire import decoder, encoder
from surgetank.errors import SurgetankError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.broker_warm_up import warm_up
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.kafka.retry import wait_until
from surgetank.kafka.topic_reader import TopicReader, offsets, partitions
from surgetank.settings import KafkaSettings
from topology.flights import flights
from topology.recordings.flights import recording

HOME = Path(".surgetank") / "bench-dead-letters"
WRONG: Mapping[str, object] = {"dead_letters.value_bytes_max": 10, "dead_letters.share_max": 1}  # every event is larger
SEND_RATE = 50_000.0
DEADLINE_SECONDS = 600.0
KILLS = 2


class LettersRun:
    """One measurement on one cluster."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._pipeline: Pipeline = flights
        self._events = recording().only("boarding")
        self._sent = 0

    def make_letters(self, count: int) -> float:
        """Make dead letters of the next ``count`` events; return the seconds."""
        began = time.monotonic()
        self._send(count)
        topic = self._pipeline.dead_letters
        with self._fleet(WRONG) as fleet:
            fleet.start()
            # The size, which is quickly told, counts the markers of transactions too.
            self._wait(lambda: self._size(topic) >= self._sent and self._readable(topic) >= self._sent, "dead letters")
        return time.monotonic() - began

    def replay(self, rate: float) -> float:
        """Replay all letters under a right worker, killed twice; return the seconds without the kills.

        Raises SurgetankError if an event has more or less than one score, or the audit is not clean.
        """
        letters, topic = self._sent, self._pipeline.events.topic
        before = self._size(topic)
        with self._fleet({}) as fleet:
            fleet.wait_ready(fleet.start())
            for kill in range(1, KILLS + 1):
                process = self._replaying(rate)
                goal = before + letters * kill // (KILLS + 1)
                self._wait(lambda: self._size(topic) >= goal or process.poll() is not None, "the replay is under way")  # noqa: B023
                if process.poll() is not None:
                    raise SurgetankError(f"the replay ended with status {process.returncode} before kill {kill}")
                process.send_signal(signal.SIGKILL)
                process.wait()
                print(
                    f"killed after {self._size(topic) - before:,} records, with those of open transactions", flush=True
                )
            began = time.monotonic()
            done = self._result(self._replaying(rate))
            seconds = time.monotonic() - began
            print(f"last run: {done}, {seconds:.1f} s", flush=True)
            self._check_scores(letters)
            again = self._result(self._replaying(rate))
        if again["send"] or again["already sent"] != letters or done["send"] + done["already sent"] != letters:
            raise SurgetankError(f"not every letter was sent once: {done}, then {again}")
        return seconds

    def list_letters(self, words: tuple[str, ...]) -> float:
        """Run a command of ``surgetank dead-letters``; return its seconds, with those of the interpreter's start."""
        began = time.monotonic()
        command = self._command(*words)
        with (HOME / "listed").open("wb") as out:
            subprocess.run(command, check=True, stdout=out)
        return time.monotonic() - began

    def _check_scores(self, letters: int) -> None:
        found = audit(self._kafka, self._pipeline, wait=30)
        print(
            f"audit: events {found.events:,}, scores {found.scores:,}, dead letters {found.dead_letters:,}, lost "
            f"{found.lost}, duplicates {found.duplicates}, unexpected {found.unexpected}, out of order "
            f"{found.out_of_order}, waiting {found.waiting}",
            flush=True,
        )
        decode, scores = decoder(SCORE), Counter[str]()
        with TopicReader(self._kafka, [self._pipeline.scores.topic]) as reader:
            for records in reader.catch_up():
                scores.update(decode(records).columns["event_id"].to_pylist())
        twice = sum(number > 1 for number in scores.values())
        print(f"event ids with a score: {len(scores):,}, with several: {twice}", flush=True)
        if not found.ok or found.dead_letters != letters or len(scores) != letters or twice:
            raise SurgetankError("the audit is not clean")

    def _send(self, count: int) -> None:
        first, self._sent = self._sent, self._sent + count
        sent = Replay(self._kafka, self._events, at_rate(SEND_RATE), encoder(), count=self._sent, first=first).run()
        if not sent.complete:
            raise SurgetankError(f"events were not sent: {sent.error}")

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "surgetank.cli", "dead-letters", *words, "--bootstrap", self._kafka.bootstrap]

    def _replaying(self, rate: float) -> "subprocess.Popen[bytes]":
        command = self._command("replay", "flights", "--send", "--json", "--rate", str(rate))
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def _result(self, process: "subprocess.Popen[bytes]") -> dict[str, int]:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        if process.returncode:
            raise SurgetankError(f"the replay ended with status {process.returncode}")
        found: dict[str, int] = json.loads(output)["letters"]
        return found

    def _fleet(self, settings: Mapping[str, object]) -> Fleet:
        return Fleet("topology.flights", bootstrap=self._kafka.bootstrap, folder=HOME / "logs", settings=dict(settings))

    def _size(self, topic: str) -> int:
        """Return the number of records, with those of open and aborted transactions and their markers."""
        admin = clients.admin(self._kafka)
        return sum(offsets(admin, partitions(admin, [topic], self._kafka.bootstrap), "latest").values())

    def _readable(self, topic: str) -> int:
        with TopicReader(self._kafka, [topic]) as reader:
            return sum(map(len, reader.catch_up()))

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        if not wait_until(condition, DEADLINE_SECONDS, 0.2):
            raise SurgetankError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replayed", type=int, default=100_000, help="Letters of the replay.")
    parser.add_argument("--listed", type=int, default=1_000_000, help="Letters that are listed in the end.")
    parser.add_argument("--rate", type=float, default=20_000.0, help="Events per second of the replay.")
    parser.add_argument("--rounds", type=int, default=3, help="Runs of each listing.")
    arguments = parser.parse_args()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with temporary_cluster(HOME / "kafka", 1) as cluster:
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        warm_up(kafka)
        provisioning.apply(kafka, flights)
        run = LettersRun(kafka)
        print(f"{arguments.replayed:,} dead letters made in {run.make_letters(arguments.replayed):.1f} s", flush=True)
        run.replay(arguments.rate)
        more = arguments.listed - arguments.replayed
        print(f"{more:,} more made in {run.make_letters(more):.1f} s", flush=True)
        by_reason = ("--reason", "too_large")
        everything = ("--limit", str(arguments.listed), "--json")
        for words in (
            ("stats", "flights"),
            ("list", "flights", *by_reason),
            ("list", "flights", *by_reason, *everything),
        ):
            seconds = [run.list_letters(words) for _ in range(arguments.rounds)]
            lines = (HOME / "listed").read_text().count("\n")
            print(f"{' '.join(words)}: {', '.join(f'{each:.1f}' for each in seconds)} s, {lines:,} lines", flush=True)


if __name__ == "__main__":
    main()
