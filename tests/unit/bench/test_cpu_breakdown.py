"""CPU of the parts of a batch: measured in threads, divided among parts, in microseconds per event."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops.bench import cpu_breakdown, worker_parts
from ops.bench.cpu_parts import CpuParts, from_environment
from ops.bench.job import BenchJob
from ops.bench.tuning import BATCH_ROWS_MAX


def look(events: int, process: float, threads: dict[str, float], parts: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what a contender writes."""
    return {"events": events, "process": process, "threads": threads, "parts": parts}


def test_the_time_of_a_thread_outside_of_measured_parts_belongs_to_its_home() -> None:
    """What is measured goes to its part, the remainder to that of the thread, or to the rest; all adds up."""
    first = look(1_000, 1.0, {"MainThread": 0.5}, {"MainThread": {"infer": 0.25}})
    last = look(
        1_001_000,
        11.0,
        {"MainThread": 4.5, "fetcher": 1.5, "transactions": 2.0},
        {"MainThread": {"infer": 2.25, "decode": 1.0}, "transactions": {"commit": 0.5}},
    )
    found = cpu_breakdown.breakdown(first, last, {"fetcher": "pull", "transactions": "produce"})
    assert found["pull"] == 1.5
    assert (found["decode"], found["infer"], found["rest"]) == (1.0, 2.0, 1.0)
    assert (found["produce"], found["commit"]) == (1.5, 0.5)
    assert (found["client threads"], found["total"]) == (2.5, 10.0)
    assert sum(found[part] for part in cpu_breakdown.PARTS) == pytest.approx(found["total"])


def test_a_coarse_clock_makes_no_part_negative() -> None:
    """The clock of whole threads has steps of 10 ms: it may say less than that of the parts."""
    first = look(0, 0.0, {"MainThread": 0.0}, {})
    last = look(1_000_000, 0.99, {"MainThread": 0.99}, {"MainThread": {"infer": 1.0}})
    found = cpu_breakdown.breakdown(first, last, {})
    assert min(found.values()) == 0
    assert found["infer"] == 1.0


def test_neither_the_start_nor_the_end_of_a_run_counts() -> None:
    """The window is the widest between 10 % and 95 % of the events; a line that was cut short is left out."""
    lines = [json.dumps({"events": events}) + "\n" for events in (0, 9, 10, 40, 95, 96, 100)]
    first, last = cpu_breakdown.window([*lines, '{"events": 9'], 100)
    assert (first["events"], last["events"]) == (10, 95)


@pytest.mark.parametrize("events", [[], [0, 5], [0, 96], [0, 50, 100]])
def test_a_run_with_too_few_looks_has_no_parts(events: list[int]) -> None:
    """Two looks are needed between 10 % and 95 % of the events."""
    with pytest.raises(ValueError, match="too few"):
        cpu_breakdown.window([json.dumps({"events": each}) + "\n" for each in events], 100)


def counted(file: Path) -> dict[str, Any]:
    """Wait for the first complete line that counts events, and return it: earlier samples may count none."""
    while True:
        for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
            if line.endswith("\n") and (told := json.loads(line))["events"]:
                return dict(told)
        threading.Event().wait(0.01)


def test_a_measured_loop_says_where_its_time_went(tmp_path: Path) -> None:
    """The parts of a thread add up to no more than its CPU time, and waiting is none of it."""
    file = tmp_path / "parts.jsonl"
    parts = CpuParts(file)
    began, slept = time.thread_time(), threading.Event()
    parts.start()
    slept.wait(0.05)
    parts.end("pull")
    BenchJob("bench", "events").infer(np.zeros((BATCH_ROWS_MAX, 8), dtype=np.float32))
    parts.end("infer")
    parts.count(BATCH_ROWS_MAX)
    used = time.thread_time() - began
    told = counted(file)
    assert told["events"] == BATCH_ROWS_MAX
    measured = told["parts"][threading.current_thread().name]
    assert set(measured) == {"pull", "infer"}
    assert sum(measured.values()) <= used
    assert measured["pull"] < measured["infer"]
    assert threading.current_thread().name in told["threads"]


def test_a_wrapped_method_counts_events_and_time_and_gives_its_result(tmp_path: Path) -> None:
    """Also where it raises."""

    class Model:
        def score(self, rows: list[int]) -> int:
            return sum(range(50_000)) and 1 // len(rows)

    parts = CpuParts(tmp_path / "parts.jsonl")
    parts.wrap(Model, "score", "infer", events=lambda _, rows: len(rows))
    assert Model().score([1]) == 1
    with pytest.raises(ZeroDivisionError):
        Model().score([])
    told = counted(tmp_path / "parts.jsonl")
    assert told["events"] == 1
    assert told["parts"][threading.current_thread().name]["infer"] > 0
    with pytest.raises(AttributeError):
        parts.wrap(Model, "gone", "infer")


def test_nothing_is_measured_unless_the_bench_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable no thread is started and no method is replaced."""
    monkeypatch.delenv("BENCH_CPU_PARTS", raising=False)
    threads = threading.active_count()
    parts = from_environment()
    before = [owner.__dict__[name] for owner, name, _ in worker_parts.METHODS]
    worker_parts.install(parts, tables=True)
    assert [owner.__dict__[name] for owner, name, _ in worker_parts.METHODS] == before
    assert threading.active_count() == threads
