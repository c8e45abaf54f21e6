"""surgetank.migration.lock: what is left of it where nothing was begun."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.migration.lock import MigrationLock
from surgetank.settings import KafkaSettings
from topology.flights import flights


class Refusing:
    """A rewriter whose commit is refused."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Refuse it."""
        yield
        raise self._error

    def put(self, *_: object) -> None:
        """Take a record."""


@pytest.mark.parametrize(
    ("error", "before", "left"),
    [
        (TopicsError("workers run"), False, False),
        (TopicsError("workers run"), True, True),
        (BrokerError("it may have been committed"), False, True),
    ],
)
def test_a_mark_that_comes_too_late_keeps_no_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, before: bool, left: bool
) -> None:
    """A worker joined meanwhile, and nothing was begun; what was begun before keeps its mark."""
    there = {flights.migration_topic: 1} if before else {}
    monkeypatch.setattr(provisioning, "existing", lambda _: dict(there))
    monkeypatch.setattr(provisioning, "make", lambda _, name, __: there.setdefault(name, 1))
    monkeypatch.setattr(provisioning, "delete", lambda _, names: [there.pop(name) for name in names])

    with pytest.raises(type(error)):
        MigrationLock(KafkaSettings(), flights).set(cast("TopicRewriter", Refusing(error)), "reshard")

    assert (flights.migration_topic in there) is left
