"""What the tests on a real cluster share."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage
from tests.support.secured_kafka import SecuredKafka, secured
from tests.support.stateful_pipeline import Remembered

StageFactory = Callable[..., Stage]


@pytest.fixture(scope="session")
def brokers(clusters: Path) -> Iterator[SecuredKafka]:
    """Return a broker that starts with ``--security scram-tls`` and has further listeners, one for all tests."""
    with secured(clusters / "secured") as running:
        yield running


@pytest.fixture
def stage(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[StageFactory]:
    """Return a function that sets a stage with its topics made; its keywords are the workers' settings."""
    with contextlib.ExitStack() as leaving:

        def make(**settings: object) -> Stage:
            new = leaving.enter_context(Stage(kafka.settings, tmp_path, settings=settings))
            new.apply_topics()
            return new

        yield make


@pytest.fixture
def remembered(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[Callable[..., Remembered]]:
    """Return a function that sets a stage with memory, its topics made; its keywords are the workers' settings.

    ``kind`` may be a stage of another kind, which sends other events.
    """
    with contextlib.ExitStack() as leaving:

        def make(kind: type[Remembered] = Remembered, **settings: object) -> Remembered:
            new = leaving.enter_context(kind(kafka.settings, tmp_path, settings=settings))
            new.apply_topics()
            return new

        yield make
