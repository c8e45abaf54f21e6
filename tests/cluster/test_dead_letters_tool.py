"""`surgetank dead-letters` on a real Kafka: what is listed, and events that are sent again, each at most once."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from surgetank.cli import dead_letters
from surgetank.codec.base import NOT_FRAMED, UNDECODABLE
from surgetank.dead_letters.replay import plan_replay
from surgetank.dead_letters.replay_plan import ReplayPlan
from surgetank.dead_letters.selection import Selection
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing.dead_letter import dead_letter_records
from surgetank.record_compression import RecordBytes
from surgetank.records import DeadLetter, RecordBatch, TopicPartition, large_binary
from surgetank.settings import load
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]

LETTERS = 3_000


def event(under: Stage, number: int, value: bytes) -> RecordBatch:
    """Return one record of the events."""
    return RecordBatch(
        sources=(TopicPartition(under.pipeline.events.topic, number % under.pipeline.events.partitions),),
        source=np.zeros(1, dtype=np.int32),
        offsets=np.array([number], dtype=np.int64),
        arrived_ms=np.array([5], dtype=np.int64),
        keys=large_binary([b"key-%d" % number]),
        values=large_binary([value]),
        headers_of=lambda _: [("trace", b"\xff")],
    )


def write_dead_letters(under: Stage, count: int) -> None:
    """Write dead letters of that many events to their partitions; every third one has failed twice."""
    producer = clients.producer(under.kafka)
    pipeline, partitions = under.pipeline, under.pipeline.events.partitions
    for number in range(count):
        source = event(under, number, b"value-%d" % number)
        now, limit = 1_700_000_000.0 + number, RecordBytes(1_000_000, 0)
        for reason in (UNDECODABLE, NOT_FRAMED)[: 2 if number % 3 == 0 else 1]:
            dead = DeadLetter(0, reason, "why")
            letter = dead_letter_records(source, dead, pipeline=pipeline.name, now=now, bytes_max=limit)
            source = RecordBatch(
                source.sources,
                source.source,
                source.offsets,
                source.arrived_ms,
                source.keys,
                source.values,
                lambda _, headers=letter.headers: headers,  # type: ignore[misc]
            )
        producer.produce(pipeline.dead_letters, letter.value, letter.key, number % partitions, headers=letter.headers)
        producer.poll(0)
    assert producer.flush(60) == 0


def arrived(under: Stage) -> Counter[tuple[int, bytes, bytes]]:
    """Return how often each event is on the events topic, by partition, key and value."""
    found: Counter[tuple[int, bytes, bytes]] = Counter()
    with TopicReader(under.kafka, [under.pipeline.events.topic]) as reader:
        for records in reader.catch_up():
            found.update(
                zip(records.partitions.tolist(), records.keys.to_pylist(), records.values.to_pylist(), strict=True)
            )
            assert [name for name, _ in records.headers_of(0)][:2] == ["trace", "surgetank.topic"]
    return found


def expected(under: Stage, numbers: range) -> Counter[tuple[int, bytes, bytes]]:
    """Return the events of these numbers, each once."""
    partitions = under.pipeline.events.partitions
    return Counter((number % partitions, b"key-%d" % number, b"value-%d" % number) for number in numbers)


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in this process for a pipeline under test."""

    def run_command(under: Stage, command: str, *arguments: str) -> str:
        settings = load({"kafka.bootstrap": under.kafka.bootstrap})
        monkeypatch.setattr(dead_letters, "pipeline_and_settings", lambda *_: (under.pipeline, settings))
        result = CliRunner().invoke(dead_letters.app, [command, under.pipeline.name, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run_command


def command(under: Stage, *arguments: str) -> dict[str, Any]:
    """Return the arguments of a process that sends the events of dead letters."""
    program = [sys.executable, "-m", "surgetank.cli", "dead-letters", "replay", under.topology, "--send", "--json"]
    return {
        "args": [*program, "--bootstrap", under.kafka.bootstrap, *arguments],
        "env": os.environ | {ENVIRONMENT: under.prefix},
    }


def everything(under: Stage) -> ReplayPlan:
    """Return the plan of a replay without conditions."""
    topic = under.pipeline.events.topic
    return ReplayPlan(Selection(), {topic: under.pipeline.events.partitions}, {topic: RecordBytes(1_000_000, 0)}, 3)


@contextmanager
def sending(under: Stage, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process that sends the events of dead letters; kill it at the end."""
    process = subprocess.Popen(**command(under, *arguments), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_large_event_that_came_compressed_is_sent_again(stage: StageFactory, run: Run) -> None:
    """A value of 20 MiB fits its topic again, because it is sent compressed.

    The other one is random bytes, again and again at a distance at which only higher levels of zstd see it.
    """
    under = stage()
    producer = clients.producer(under.kafka, message_max_bytes=100_000_000, compression_type="zstd")
    values = [bytes(20 << 20), np.random.default_rng(0).bytes(700_000) * 30]
    for number, value in enumerate(values):
        source, dead = event(under, number, value), DeadLetter(0, UNDECODABLE, "why")
        limit = RecordBytes(100_000_000, 0)
        letter = dead_letter_records(source, dead, pipeline=under.pipeline.name, now=0.0, bytes_max=limit)
        producer.produce(under.pipeline.dead_letters, letter.value, letter.key, number, headers=letter.headers)
    assert producer.flush(60) == 0

    done = json.loads(run(under, "replay", "--send", "--json"))["letters"]

    assert (done["send"], done["too large for its topic"]) == (1, 1)
    assert arrived(under) == {(0, b"key-0", values[0]): 1}


def test_letters_are_listed_counted_shown_and_exported(stage: StageFactory, tmp_path: Path, run: Run) -> None:
    """By reason, time and source, as tables and as JSON."""
    under = stage()
    write_dead_letters(under, 30)

    found = json.loads(run(under, "stats", "--json"))
    assert found["letters"] == 30
    assert {(each["reason"], each["letters"]) for each in found["groups"]} == {("undecodable", 20), ("not_framed", 10)}
    assert "30 dead letters" in run(under, "stats")

    lines = [json.loads(line) for line in run(under, "list", "--json", "--reason", "not_framed").splitlines()]
    assert sorted(each["source_offset"] for each in lines) == list(range(0, 30, 3))
    assert {each["attempts"] for each in lines} == {2}
    assert "30 dead letters, the first 5 are shown" in run(under, "list", "--limit", "5")
    early = [json.loads(line) for line in run(under, "list", "--json", "--until", "2023-11-14T22:13:25").splitlines()]
    assert sorted(each["source_offset"] for each in early) == [0, 1, 2, 3, 4]

    shown = run(under, "show", f"{lines[0]['partition']}:{lines[0]['offset']}")
    assert "surgetank.reason" in shown
    assert "not decoded" in shown

    assert "wrote 20 dead letters" in run(
        under, "export", "--out", str(tmp_path / "l.parquet"), "--reason", "undecodable"
    )
    assert pq.read_table(tmp_path / "l.parquet").num_rows == 20
    run(under, "export", "--out", str(tmp_path / "l.jsonl"))
    assert len((tmp_path / "l.jsonl").read_text().splitlines()) == 30


def test_a_replay_of_dead_letters_is_killed(stage: StageFactory) -> None:
    """Twice in the middle of its transactions; then it runs to the end, then once more: each letter is sent once."""
    under = stage()
    write_dead_letters(under, LETTERS)
    plan = everything(under)
    left = LETTERS
    for _ in range(2):
        with sending(under, "--rate", "100") as process:
            before = left
            while (left := plan_replay(under.kafka, under.pipeline, plan).decisions["send"]) == before:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert 0 < left < LETTERS

    result = subprocess.run(**command(under, "--rate", "100000"), check=True, capture_output=True)

    done = json.loads(result.stdout)["letters"]
    assert done["send"] + done["already sent"] == LETTERS
    assert done["already sent"] >= LETTERS - left
    assert arrived(under) == expected(under, range(LETTERS))
    again = subprocess.run(**command(under), check=True, capture_output=True)
    assert json.loads(again.stdout)["letters"]["already sent"] == LETTERS
    assert arrived(under) == expected(under, range(LETTERS))


def test_two_replays_at_a_time_send_each_letter_once(stage: StageFactory) -> None:
    """The second one fences the first, which ends with an error."""
    under = stage()
    write_dead_letters(under, LETTERS)
    plan = everything(under)
    with sending(under, "--rate", "100") as first:
        under.until(
            lambda: plan_replay(under.kafka, under.pipeline, plan).decisions["send"] < LETTERS,
            60,
            "the first one sends",
        )
        second = subprocess.run(**command(under, "--rate", "100000"), check=True, capture_output=True)
        assert first.wait(60) != 0
    done = json.loads(second.stdout)["letters"]
    assert done["already sent"] > 0
    assert done["send"] + done["already sent"] == LETTERS
    assert arrived(under) == expected(under, range(LETTERS))


def test_an_event_that_fails_again_and_again_is_parked(stage: StageFactory, run: Run) -> None:
    """A worker meets the events that are sent again; after three failures they stay where they are."""
    under = stage(**{"dead_letters.share_max": 1})
    producer = clients.producer(under.kafka)
    for number in range(20):
        producer.produce(under.pipeline.events.topic, b"junk-%d" % number, b"key", number % 2)
    assert producer.flush(30) == 0
    worker = under.worker()
    for attempts in (1, 2, 3):
        under.until(lambda n=attempts: _letters(under) == 20 * n, 60, "the events became dead letters")  # type: ignore[misc]
        decisions = json.loads(run(under, "replay", "--send", "--json"))["letters"]
        assert decisions["send"] == (20 if attempts < 3 else 0)
        assert decisions["parked"] == (0 if attempts < 3 else 20)
        assert decisions["already sent"] == 20 * (attempts - 1)
    assert worker.running


def _letters(under: Stage) -> int:
    with TopicReader(under.kafka, [under.pipeline.dead_letters]) as reader:
        return sum(map(len, reader.catch_up()))
