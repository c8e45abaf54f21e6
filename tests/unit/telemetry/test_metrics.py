"""The catalogue: named by one rule, bounded, explained, and readable for Prometheus."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from pipeline.batch import Reason, Stage
from pipeline.telemetry.metrics import MetricError, Metrics

UNITS = {"", "seconds", "bytes", "rows", "records"}


def test_names_follow_one_rule() -> None:
    """An attribute's name is the metric's name without prefix, and a unit is one of the few that we use."""
    metrics = Metrics()
    declared = {name: each for name, each in vars(metrics).items() if each in list(metrics)}
    assert len(declared) == len({each.name for each in metrics}) > 15
    for name, each in declared.items():
        assert each.name == f"surgetank_{name}"
        assert each.unit in UNITS
        assert not each.name.endswith("_total")  # counters get it when they are told


def test_every_metric_explains_itself() -> None:
    """Help texts are sentences, and no two metrics share one."""
    helps = [each.help for each in Metrics()]
    assert all(re.fullmatch(r"[A-Z0-9].{15,}\.", each) for each in helps)
    assert len(set(helps)) == len(helps)


def test_no_label_is_without_bound() -> None:
    """Every label of every metric lists its values or has a bound, and none is named like a key or an id."""
    for metric in Metrics():
        for label in metric.labels:
            assert label.values or label.bound
            assert label.name not in {"key", "id", "event_id", "offset"}


def test_ten_thousand_keys_do_not_become_series() -> None:
    """Writing event keys where a topic belongs is refused long before it costs memory."""
    metrics = Metrics()
    for number in range(32):
        metrics.events_received.add(topic=f"N{number}")
    for number in range(32, 10_000):
        with pytest.raises(MetricError, match="33 values of label topic; its bound is 32"):
            metrics.events_received.add(topic=f"N{number}")
    assert len(metrics.events_received.family().samples) == 32


def test_all_reasons_of_dead_letters_are_labels() -> None:
    """Whatever a step may give as stage and reason can be counted."""
    metrics = Metrics()
    for stage in Stage:
        for reason in Reason:
            metrics.events_dead.add(stage=stage, reason=reason)
    assert {sample.value for sample in metrics.events_dead.family().samples} == {1.0}


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("", plain),
        ("text/plain;version=0.0.4", plain),
        ("application/openmetrics-text; version=1.0.0", openmetrics),
    ],
)
def test_a_page_is_read_back_as_written(accept: str, parse: Callable[[str], Iterator[Metric]]) -> None:
    """Prometheus' own parsers read the page of either format, with our values and the process's."""
    metrics = Metrics()
    metrics.events_scored.add(7, topic="flights.boarding")
    metrics.lag_records.replace({("flights.boarding", 3): 12})
    metrics.end_to_end_seconds.observe_many(np.array([0.004, 0.004, 0.2]))
    metrics.model_info.replace({("flights-late", '1.0 "quoted"\\'): 1})
    body, content_type = metrics.expose(accept)
    assert content_type.startswith(accept.partition(";")[0] or "text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }
    assert samples["surgetank_events_scored_total", ("topic", "flights.boarding")] == 7
    assert samples["surgetank_lag_records", ("partition", "3"), ("topic", "flights.boarding")] == 12
    assert samples["surgetank_end_to_end_seconds_bucket", ("le", "0.005")] == 2
    assert samples["surgetank_end_to_end_seconds_count",] == 3
    assert samples["surgetank_model_info", ("model", "flights-late"), ("version", '1.0 "quoted"\\')] == 1
    assert samples["process_cpu_seconds_total",] > 0


def test_two_workers_in_one_process_do_not_mix() -> None:
    """Each Metrics has its own values and its own registry."""
    one, other = Metrics(), Metrics()
    one.transactions.add(5, outcome="committed")
    assert other.transactions.value(outcome="committed") == 0
    assert b'transactions_total{outcome="committed"} 5.0' in one.expose()[0]
    assert b'transactions_total{outcome="committed"} 0.0' in other.expose()[0]
