"""The tests of this folder run Prometheus and Alertmanager, and fail where these are not installed."""

import pytest


@pytest.fixture(autouse=True)
def _installed(prometheus_programs: None) -> None:
    """Fail the test if a program of Prometheus or Alertmanager is missing."""
