"""What the tests on a real cluster share."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import KafkaUnderTest
from stage import Stage

StageFactory = Callable[..., Stage]


@pytest.fixture
def stage(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[StageFactory]:
    """Return a function that sets a stage with its topics made; its keywords are the workers' settings."""
    with contextlib.ExitStack() as leaving:

        def make(**settings: object) -> Stage:
            new = leaving.enter_context(Stage(kafka.settings, tmp_path, settings=settings))
            new.apply_topics()
            return new

        yield make
