"""surgetank.telemetry.exposition_parser: what a metrics page contains."""

from surgetank.telemetry.exposition_parser import sample_total

PAGE = """# TYPE a_total counter
a_total{x="1",y="2"} 3.0
a_total{x="2",y="2"} 4.0
a_total_of_others 100.0
b 1e3
"""


def test_a_metric_is_summed_over_the_series_that_have_the_labels() -> None:
    """Over all series without labels; metrics with a longer name do not count."""
    assert sample_total(PAGE, "a_total") == 7.0
    assert sample_total(PAGE, "a_total", x="2") == 4.0
    assert sample_total(PAGE, "a_total", y="2", x="1") == 3.0
    assert sample_total(PAGE, "b") == 1000.0
    assert sample_total(PAGE, "c") == 0.0
