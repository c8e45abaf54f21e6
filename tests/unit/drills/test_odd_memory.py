"""The bound for the resident size of a worker, its measurement, and the backlogs that would exceed it."""

import os
import subprocess
import sys
from pathlib import Path

from surgetank.drills.odd.declaration import BACKLOG_BYTES, odd_pipeline
from surgetank.drills.odd.memory import resident_bound, resident_peak
from surgetank.drills.odd.records import backlog_records, odd_records
from surgetank.settings import load

MIB = 1 << 20


def test_the_bound_of_the_defaults_is_the_documented_one() -> None:
    """docs/operating.md: 1,408 MiB, or 1,152 MiB without state."""
    settings = load({})

    assert resident_bound(settings, keeps_state=True, record_bytes_max=MIB) == 1_408 * MIB
    assert resident_bound(settings, keeps_state=False, record_bytes_max=MIB) == 1_152 * MIB


def test_the_bound_grows_with_each_part() -> None:
    """By the factor that docs/operating.md states for it; a record that is larger than a batch is a batch."""
    small = {
        "worker.batch_kilobytes_max": 1024,
        "worker.buffered_kilobytes_max": 64,
        "worker.fetch_buffer_kilobytes": 64,
    }

    def bound(record: int = 0, **changed: int) -> int:
        dotted = {name.replace("__", "."): value for name, value in changed.items()}
        return resident_bound(load(small | dotted), keeps_state=False, record_bytes_max=record)

    base = bound()
    assert bound(worker__batch_kilobytes_max=2048) - base == 6 * MIB
    assert bound(record=3 * MIB) - base == 12 * MIB
    assert bound(worker__buffered_kilobytes_max=1088) - base == 2 * MIB
    assert bound(worker__fetch_buffer_kilobytes=1088) - base == MIB
    assert bound(worker__fetch_buffer_kilobytes=32 * 1024) - base == 32 * MIB - 64 * 1024 + 16 * MIB


def test_the_peak_is_that_of_the_process(tmp_path: Path) -> None:
    """In bytes: memory that was given back counts, where the system tells it; otherwise the present size."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tworker\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n")

    assert resident_peak(7, tmp_path) == 300 * 1024
    assert resident_peak(os.getpid(), tmp_path / "absent") > 10 * MIB
    (tmp_path / str(os.getpid())).mkdir()
    (tmp_path / str(os.getpid()) / "status").write_text("Name:\tworker\n")
    assert resident_peak(os.getpid(), tmp_path) > 10 * MIB


def test_an_ended_process_has_no_size() -> None:
    """There is nothing to read any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert resident_peak(process.pid) == 0


def test_some_pipelines_have_a_backlog_that_their_worker_may_not_hold() -> None:
    """About one in 25 of a seed; all of its backlog is larger than the bound, and so are no others."""
    every = [odd_pipeline(1, number) for number in range(200)]
    found = [odd for odd in every if odd.backlog_bytes]

    assert 2 <= len(found) <= 20
    for odd in found:
        bound = resident_bound(load(odd.settings), keeps_state=odd.keeps_state, record_bytes_max=odd.size_max)
        assert bound < BACKLOG_BYTES == odd.backlog_bytes
        assert all(record.size < 2 * MIB for record in odd_records(odd, 1, 300, 64 * MIB))


def test_a_backlog_has_its_bytes() -> None:
    """Uncompressed and whole."""
    odd = next(odd for odd in (odd_pipeline(1, number) for number in range(200)) if odd.backlog_bytes)
    sizes = [(record.size, record.compression) for record in backlog_records(odd, 1)]

    assert BACKLOG_BYTES <= sum(size for size, _ in sizes) < BACKLOG_BYTES * 1.05
    assert {compression for _, compression in sizes} == {"none"}
    assert (
        list(backlog_records(next(odd_pipeline(1, n) for n in range(200) if not odd_pipeline(1, n).backlog_bytes), 1))
        == []
    )
