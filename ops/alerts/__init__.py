"""Generates Prometheus rules and Grafana dashboards from the metric catalogue and objectives: `python -m ops.alerts`.

Rules are written to ops/prometheus/rules/, dashboards to ops/grafana/dashboards/. Both are in the repository; a test
compares them with a new generation. A metric that is not in the catalogue is an error.
"""
