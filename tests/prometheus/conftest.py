"""The tests of this folder run Prometheus and Alertmanager, or are skipped where these are not installed."""

import pytest


@pytest.fixture(autouse=True)
def _installed(prometheus_programs: None) -> None:
    """Skip the test if a program of Prometheus or Alertmanager is missing."""
