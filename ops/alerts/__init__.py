"""Makes what operators look at from the metric catalogue and the objectives: `python -m ops.alerts`.

Prometheus rules go to ops/prometheus/rules/, Grafana dashboards to ops/grafana/dashboards/. Both are checked in, and
a test makes them again and compares. A metric that the catalogue does not have is refused.
"""
