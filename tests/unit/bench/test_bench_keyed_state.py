"""The parts of the bench with memory that need no Kafka: jobs by name, rows by hand, the page of a worker."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ops.bench.bench import BenchPlan, contenders
from ops.bench.benchmark_run import topics_of
from ops.bench.contender_args import ContenderArgs
from ops.bench.hand_state import Cards
from ops.bench.job import Avro
from ops.bench.jobs import Flights, Payments, Workload, named
from ops.bench.payments import layout
from ops.bench.payments_job import pack
from ops.bench.rates import MeasuredRun, ratios, summary
from ops.bench.tables import tables
from surgetank.codec.schema_repository import project_schemas

JOB = ContenderArgs("k:1", "run", "events", "run.scores", "run.cards.changelog", "folder")


@pytest.mark.parametrize("work", [Flights(), Payments(300)])
def test_a_job_gives_events_by_its_name(work: Workload) -> None:
    """Another process makes the same job of it: as many events as wanted, and a pool whose times can be set."""
    again = named(work.name)
    assert again == work
    stretches = list(again.stretches(1_000))
    assert sum(len(each.values) for each in stretches) == 1_000
    avro = Avro(work.schema)
    assert len(avro.decode(stretches[0].values)) == len(stretches[0].keys)
    pool = again.pool(700)
    assert {len(column) for column in pool.columns} == {len(pool.keys)} == {700}
    assert avro.names.index(work.time) == project_schemas().columns(work.schema).get_field_index(work.time)


def test_a_job_with_memory_has_changelogs() -> None:
    """Those of its tables; a job without writes scores and dead letters only."""
    assert topics_of(JOB, Flights()) == ["run.scores", "run.dead-letters"]
    assert JOB.changelog in topics_of(JOB, Payments())


def test_every_contender_of_a_job_warms_up_before_it_counts() -> None:
    """Its events are those of the warm-up and more; only those that are named take part."""
    for job in ("flights", "payments"):
        plan = BenchPlan(job=job, share=0.001)
        those = contenders(plan, Path())
        assert {each.key for each in those} >= {"surgetank"}
        assert all(each.events >= plan.work.warm + 1_000 for each in those)
    assert [each.key for each in contenders(BenchPlan(job="payments", only=("quix_state",)), Path())] == ["quix_state"]


def test_rows_that_made_room_come_back_from_the_disk(tmp_path: Path) -> None:
    """The loop by hand with room for a few rows keeps all of them, whatever order they are wanted in."""
    random = np.random.default_rng(5)
    keys = [b"card-%d" % number for number in range(50)]
    expected: dict[bytes, float] = dict.fromkeys(keys, 0.0)
    cards = Cards(tmp_path / "rows", rows_max=12)
    for _ in range(300):
        wanted = [keys[at] for at in random.choice(50, size=int(random.integers(1, 7)), replace=False)]
        if cards.room < len(wanted):
            cards.take()
            while cards.room < len(wanted):
                cards.make_room()
        new = [key for key, place in zip(wanted, cards.find(wanted), strict=True) if place is None]
        cards.fetch(new, [3] * len(new))
        places = np.array(cards.find(wanted))
        assert [expected[key] for key in wanted] == cards.rows[places, 1].tolist()
        cards.rows[places, 1] += 1
        cards.touched(places)
        expected |= {key: expected[key] + 1 for key in wanted}
    changed, values, partitions = cards.take()
    assert set(partitions) == {3}
    assert values == pack(cards.rows[np.array(cards.find(changed))])
    assert cards.take() == ([], [], [])
    cards.close()
    back = Cards(tmp_path / "rows", rows_max=60)
    back.fetch(keys, [0] * 50)
    assert dict(zip(keys, back.rows[np.array(back.find(keys)), 1].tolist(), strict=True)) == expected
    assert back.rows.shape == (60, layout.width)


def test_what_memory_costs_is_shown() -> None:
    """Growth with keys and tasks, and the restore, of each that was measured."""
    found = {"surgetank": summary([MeasuredRun(1, 1.0, 1.0, 123_456, 98_765, 0.1, 0.0)])}
    report = {
        **found,
        "ratios": ratios(found),
        "guarantees": {"surgetank": "exactly once"},
        "latency_ms": {},
        "settings": {"contenders": {}},
        "memory": {
            "keys": found,
            "tasks": {"4": found, "64": found},
            "restore": {"surgetank": {"records": 1_200_000, "seconds": 5.0, "records_per_second": 240_000.0}},
            "growth": {
                "surgetank": {"cpu_per_event_from_10k_to_1m_keys": 1.31, "cpu_per_event_from_4_to_64_tasks": 1.17}
            },
        },
    }
    console = Console(file=io.StringIO(), width=300)
    for table in tables(report):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for shown in ("1.31x", "1.17x", "1,200,000 in 5.0 s", "240,000", "98,765"):
        assert shown in printed
