"""A short, seeded run of the drill with odd pipelines, on the broker of the tests."""

import uuid
from pathlib import Path

from surgetank.drills.odd.declaration import odd_pipeline
from surgetank.drills.odd.drill import OddPlan, run_odd
from surgetank.drills.odd.refusals import set_up
from surgetank.kafka import clients
from tests.support.kafka_under_test import KafkaUnderTest


def test_odd_pipelines_end_as_the_rules_say(kafka: KafkaUnderTest, tmp_path: Path) -> None:
    """Six random pipelines, refused ones and stateful ones among them, and 2,000 random records."""
    plan = OddPlan(pipelines=6, events=2_000, seed=3, jobs=2, prefix=f"t{uuid.uuid4().hex[:8]}")

    report = run_odd(kafka.settings, tmp_path, plan, say=print)

    print("\n".join(report.lines))
    assert report.passed, report.mismatches
    groups = clients.admin(kafka.settings).list_consumer_groups().result().valid
    assert not [group.group_id for group in groups if plan.prefix in group.group_id]
    assert report.ran >= 1
    assert report.refused
    assert report.outcomes["score"] > 0
    assert any(outcome.startswith("decode/") for outcome in report.outcomes)
    assert report.resident_peak > 0
    assert any(odd.keeps_state and not set_up(odd, 3)[1] for odd in (odd_pipeline(3, number) for number in range(6)))
    assert report.pipelines == report.ran + sum(report.refused.values()) == 6
    assert report.sent == report.positions + report.rejected_records
    assert report.sent > 1_900
    assert sum(report.outcomes.values()) == report.positions
