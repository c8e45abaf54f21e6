"""The port of a local Kafka, by the address that clients are given."""

import pytest

from surgetank.kafka.local.local_port import local_port


@pytest.mark.parametrize(
    ("bootstrap", "port"),
    [
        ("127.0.0.1:27182", 27182),
        ("localhost:9092", 9092),
        ("127.0.0.1:9092,127.0.0.1:9093", 9092),
        ("kafka.example:9092", None),
        ("10.127.0.0.1:9092", None),
        ("127.0.0.1", None),
        ("", None),
    ],
)
def test_a_local_kafka_is_started_where_clients_look_for_it(bootstrap: str, port: int | None) -> None:
    """An address on another machine gives no port."""
    assert local_port(bootstrap) == port
