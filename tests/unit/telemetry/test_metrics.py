"""The metric catalogues: naming rule, bounds, help texts, and pages that Prometheus' parsers read."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from surgetank.processing.dead_letter_reasons import REASONS
from surgetank.records import Step
from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.metrics import MetricError, Metrics

UNITS = {"", "seconds", "bytes", "rows", "records"}


CATALOGUES = pytest.mark.parametrize("catalogue", [Metrics, GroupMetrics])


@CATALOGUES
def test_names_follow_one_rule(catalogue: type[Catalogue]) -> None:
    """An attribute's name is the metric's name without prefix; units are from a fixed set."""
    metrics = catalogue()
    declared = {name: each for name, each in vars(metrics).items() if each in list(metrics)}
    assert len(declared) == len({each.name for each in metrics}) > 15
    for name, each in declared.items():
        assert each.name == f"surgetank_{name}"
        assert each.unit in UNITS
        assert not each.name.endswith("_total")  # counters get it when they are told


@CATALOGUES
def test_every_metric_has_its_own_help_text(catalogue: type[Catalogue]) -> None:
    """Help texts are sentences."""
    helps = [each.help for each in catalogue()]
    assert all(re.fullmatch(r"[A-Z0-9].{15,}\.", each) for each in helps)
    assert len(set(helps)) == len(helps)


@CATALOGUES
def test_every_label_is_bounded(catalogue: type[Catalogue]) -> None:
    """Every label lists its values or has a bound; no label is a key or an id."""
    for metric in catalogue():
        for label in metric.labels:
            assert label.values or label.bound
            assert label.name not in {"key", "id", "event_id", "offset"}


def test_event_keys_as_topics_are_refused() -> None:
    """Long before they use much memory."""
    metrics = Metrics()
    for number in range(32):
        metrics.events_received.add(topic=f"N{number}")
    for number in range(32, 10_000):
        with pytest.raises(MetricError, match="33 values of label topic; its bound is 32"):
            metrics.events_received.add(topic=f"N{number}")
    assert len(metrics.events_received.family().samples) == 32


def test_replace_refuses_values_above_the_bound() -> None:
    """And keeps the earlier values."""
    metrics = GroupMetrics()
    metrics.group_lag_records.replace({("orders", "requests", 0): 1})
    with pytest.raises(MetricError, match="100000 values of label group; its bound is 10000"):
        metrics.group_lag_records.replace({(f"key-{number}", "requests", 0): 1 for number in range(100_000)})
    assert metrics.group_lag_records.value(group="orders", topic="requests", partition=0) == 1
    assert len(metrics.group_lag_records.family().samples) == 1


def test_the_page_of_a_pass_is_rendered_once() -> None:
    """Changes appear after the page is invalidated."""
    metrics = GroupMetrics()
    metrics.exporter_groups.set(1)
    first = metrics.expose()[0]
    metrics.exporter_groups.set(2)
    assert metrics.expose()[0] is first
    metrics.invalidate_page()
    assert b"surgetank_exporter_groups 2.0" in metrics.expose()[0]
    assert metrics.expose("application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics")


@pytest.mark.parametrize(
    ("accept", "parse"), [("", plain), ("application/openmetrics-text; version=1.0.0", openmetrics)]
)
def test_the_page_of_groups_is_parsed_back(accept: str, parse: Callable[[str], Iterator[Metric]]) -> None:
    """By Prometheus' parsers: odd names, infinity, help texts and the metrics after them."""
    metrics = GroupMetrics()
    odd = 'quo"ted\\ {and} braces, n\\n'
    metrics.group_drain_seconds.replace({(odd, "orders", 3): float("inf"), ("plain", "orders", 10): 12.5})
    metrics.group_committed_offset.replace({("plain", "orders", 10): 2.0**60})
    metrics.group_status.replace({(odd,): 2, ("plain",): 0})
    metrics.exporter_up.set(1)
    families = {family.name: family for family in parse(metrics.expose(accept)[0].decode())}
    drain = families["surgetank_group_drain_seconds"]
    assert drain.documentation == metrics.group_drain_seconds.help
    assert drain.type == "gauge"
    assert {(each.labels["group"], each.labels["partition"]): each.value for each in drain.samples} == {
        (odd, "3"): float("inf"),
        ("plain", "10"): 12.5,
    }
    assert families["surgetank_group_committed_offset"].samples[0].value == 2.0**60
    assert {each.labels["group"]: each.value for each in families["surgetank_group_status"].samples} == {
        odd: 2,
        "plain": 0,
    }
    assert families["surgetank_exporter_up"].samples[0].value == 1
    declared = {each.name for each in metrics}
    assert declared <= {family.name for family in families.values()}


def test_refresh_is_called_at_each_scrape() -> None:
    """Before the page is rendered."""
    metrics = Metrics()
    metrics.refresh = lambda: metrics.lag_seconds.set(7.5, topic="flights.boarding", partition=0)
    assert b'surgetank_lag_seconds{partition="0",topic="flights.boarding"} 7.5' in metrics.expose()[0]


def test_all_dead_letter_reasons_are_labels() -> None:
    """Every stage with every reason can be counted."""
    metrics = Metrics()
    for stage in Step:
        for label in {reason.label for reason in REASONS}:
            metrics.events_dead.add(stage=stage, reason=label)
    assert {sample.value for sample in metrics.events_dead.family().samples} == {1.0}


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("", plain),
        ("text/plain;version=0.0.4", plain),
        ("application/openmetrics-text; version=1.0.0", openmetrics),
    ],
)
def test_a_page_is_parsed_back(accept: str, parse: Callable[[str], Iterator[Metric]]) -> None:
    """By Prometheus' parsers, in both formats, with our values and the process metrics."""
    metrics = Metrics()
    metrics.events_scored.add(7, topic="flights.boarding")
    metrics.lag_records.replace({("flights.boarding", 3): 12})
    metrics.end_to_end_seconds.observe_many(np.array([0.004, 0.004, 0.2]))
    metrics.model_info.replace({("flights-late", '1.0 "quoted"\\', "primary"): 1})
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
    assert (
        samples["surgetank_model_info", ("model", "flights-late"), ("role", "primary"), ("version", '1.0 "quoted"\\')]
        == 1
    )
    assert samples["process_cpu_seconds_total",] > 0


def test_instances_are_independent() -> None:
    """Each Metrics has its own values and its own registry."""
    one, other = Metrics(), Metrics()
    one.transactions.add(5, outcome="committed")
    assert other.transactions.value(outcome="committed") == 0
    assert b'transactions_total{outcome="committed"} 5.0' in one.expose()[0]
    assert b'transactions_total{outcome="committed"} 0.0' in other.expose()[0]
