"""surgetank.migration.stopped_group: what is asked of a pipeline that stands still, and for how long."""

from dataclasses import dataclass, field

import pytest

from surgetank.errors import BrokerError
from surgetank.kafka import provisioning
from surgetank.migration.stopped_group import STABLE_SECONDS, StoppedGroup
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from topology.flights import flights


@dataclass
class Pending:
    """A ground whose offsets stay pending: each question takes all the time that it is given."""

    waited: float = 0.0
    asked: list[TopicPartition] = field(default_factory=list)

    def committed(self, sources: list[TopicPartition], timeout: float) -> None:
        """Take that long, for nothing."""
        self.waited += timeout
        self.asked = sources


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> Pending:
    """Return what every standstill of this test asks; the events are there with two partitions, nothing else is."""
    found = Pending()
    monkeypatch.setattr("surgetank.migration.stopped_group.GroupClient", lambda *_: found)
    monkeypatch.setattr(provisioning, "existing", lambda _: {flights.events.topic: 2})
    return found


def test_offsets_that_stay_pending_are_not_waited_for_longer_than_is_said(pending: Pending) -> None:
    """What is open is ended by the brokers long before; a topic that is missing is somebody else's to tell."""
    with pytest.raises(BrokerError, match=f"pending for {STABLE_SECONDS:.0f} s"):
        StoppedGroup(KafkaSettings(), flights).committed()

    assert pending.waited == STABLE_SECONDS
    assert pending.asked == [TopicPartition(flights.events.topic, 0), TopicPartition(flights.events.topic, 1)]
