"""surgetank.kafka.optional_columns: sending never waits for brokers."""

import numpy as np
import pytest

from surgetank.kafka import optional_columns
from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.optional_columns import OptionalColumns
from surgetank.records import OutputRecords, large_binary
from surgetank.settings import KafkaSettings


def records(n: int) -> OutputRecords:
    """Return n records."""
    return OutputRecords("t", np.zeros(n, dtype=np.int32), large_binary([b"k"] * n), large_binary([b"v"] * n))


def test_records_beyond_the_queue_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a broker the queue takes its size, and says so once; what was never used has no client to close."""
    monkeypatch.setattr(optional_columns, "PENDING_MAX", 100)
    monkeypatch.setattr(optional_columns, "FLUSH_SECONDS", 0.0)
    sender = OptionalColumns(KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)}"), client_id="c", lost=lambda _: None)
    sender.close()
    assert sender.send(records(0)) == 0
    assert sender.send(records(60)) == 60
    assert sender.send(records(60)) == 40
    assert sender.send(records(60)) == 0
    assert len([each for each in caplog.records if "records for topic t are lost" in each.message]) == 1
    sender.close()
