"""Under which address a worker tells others to call it."""

import socket

import pytest

from surgetank.errors import SettingsError
from surgetank.http.peer_address import peer_address
from surgetank.settings import KafkaSettings, Settings, TelemetrySettings

NOWHERE = "127.0.0.1:1"  # an address is derived without a server that answers


def settings(address: str = "", bootstrap: str = NOWHERE) -> Settings:
    """Return settings with an address of telemetry and of Kafka."""
    return Settings(kafka=KafkaSettings(bootstrap=bootstrap), telemetry=TelemetrySettings(address=address))


def test_what_is_bound_is_the_address_where_nothing_else_is_set() -> None:
    """An interface's own address is reachable as it is; the setting counts more, without its last slash."""
    assert peer_address(settings(), "http://10.1.2.3:9101") == "http://10.1.2.3:9101"
    assert peer_address(settings("https://worker-1.example:443/w/"), "http://0.0.0.0:1") == (
        "https://worker-1.example:443/w"
    )


def test_telemetry_host_is_a_wildcard() -> None:
    """0.0.0.0 reaches nobody; of several bootstrap servers the first that can be resolved shows the way."""
    unresolvable = f"no-such-host.invalid:9092, PLAINTEXT://{NOWHERE}"
    assert peer_address(settings(bootstrap=unresolvable), "http://0.0.0.0:9101") == "http://127.0.0.1:9101"
    assert peer_address(settings(bootstrap=unresolvable), "https://0.0.0.0:9101") == "https://127.0.0.1:9101"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # the documentation's network: a route is looked up, nothing is sent
        except OSError:
            return  # a machine without a route
        way = probe.getsockname()[0]
    assert peer_address(settings(bootstrap="192.0.2.1:9092"), "http://0.0.0.0:9101") == f"http://{way}:9101"


def test_the_wildcard_of_ipv6_is_reached_by_ipv4_too() -> None:
    """It takes both, so the brokers' kind of address decides."""
    assert peer_address(settings(), "http://[::]:9101") == "http://127.0.0.1:9101"


def test_without_a_way_to_kafka_the_worker_is_refused_with_advice() -> None:
    """Nobody could call it: which setting is missing is said at start."""
    with pytest.raises(SettingsError, match=r"telemetry.host=0.0.0.0 .*set telemetry.address"):
        peer_address(settings(bootstrap="no-such-host.invalid:9092"), "http://0.0.0.0:9101")


@pytest.mark.parametrize(
    "address", ["http://0.0.0.0:9101", "http://[::]:9101", "worker-1:9101", "http://", "http://[::", "http://w:x"]
)
def test_an_address_that_reaches_nobody_is_refused(address: str) -> None:
    """A set address is an http URL with a host that means one machine."""
    with pytest.raises(SettingsError, match=r"telemetry\.address="):
        peer_address(settings(address), "http://127.0.0.1:9101")
