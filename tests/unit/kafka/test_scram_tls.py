"""A local cluster with ``--security scram-tls`` before it starts: its properties, its files, what is remembered."""

import json
import stat
from pathlib import Path

import pytest

from surgetank.errors import StartupError
from surgetank.kafka.client_security import security_problems
from surgetank.kafka.local.broker import Broker
from surgetank.kafka.local.cluster import LocalCluster, security_of
from surgetank.kafka.local.cluster_layout import ClusterLayout, properties
from surgetank.kafka.local.scram_tls import ScramTls

PASSWORDS = {"store": "s1", "broker": "b1", "admin": "a1", "app": 'p"\\1'}


@pytest.fixture
def made(tmp_path: Path) -> ScramTls:
    """Return the security of a cluster, with passwords and without certificates."""
    (tmp_path / "security").mkdir()
    (tmp_path / "security" / "passwords.json").write_text(json.dumps(PASSWORDS))
    return ScramTls(tmp_path / "security")


def test_no_listener_is_open(made: ScramTls) -> None:
    """The property map has no protocol without TLS, the controllers know each other by certificate, and no user who did
    not log in may do anything.
    """
    layout = ClusterLayout(3, 9092)
    all_of_them = properties(layout, 2, {}) | made.properties(layout, 2)
    listeners = all_of_them["listeners"].split(",")
    assert listeners == ["SASL_SSL://127.0.0.1:9093", "CONTROLLER://127.0.0.1:9096"]
    assert all_of_them["listener.security.protocol.map"] == "SASL_SSL:SASL_SSL,CONTROLLER:SSL"
    assert all_of_them["listener.name.controller.ssl.client.auth"] == "required"
    assert all_of_them["super.users"] == "User:CN=broker;User:broker;User:admin"
    assert "allow.everyone.if.no.acl.found" not in all_of_them


def test_the_settings_file_of_a_user_holds_its_settings(made: ScramTls) -> None:
    """They fit together, whatever is in the password, and only the owner of the file can read them."""
    made.write_settings("127.0.0.1:9092")
    for user, mechanism in (("admin", "SCRAM-SHA-512"), ("app", "SCRAM-SHA-512"), ("broker", "PLAIN")):
        settings = made.settings(user)
        options = settings.client_options()
        assert settings.bootstrap == "127.0.0.1:9092"
        assert options["sasl.password"] == PASSWORDS[user]
        assert options["sasl.mechanism"] == mechanism
        assert list(security_problems(options, lambda _: None)) == []
        assert stat.S_IMODE(made.settings_file(user).stat().st_mode) == 0o600


def test_the_properties_of_a_broker_are_for_its_owner_only(tmp_path: Path) -> None:
    """They hold passwords."""
    broker = Broker(1, tmp_path / "broker-1", (9092, 9093))
    broker.write("a=b\n")
    assert stat.S_IMODE(broker.properties.stat().st_mode) == 0o600


def test_the_security_of_a_cluster_is_remembered(tmp_path: Path) -> None:
    """A start without the option keeps it; a folder of an older version has none."""
    assert security_of(None, tmp_path) == "none"
    known = {"brokers": 1, "port": 9092, "settings": {}, "heap_mb": 512, "cluster_id": "A"}
    (tmp_path / "cluster.json").write_text(json.dumps(known))
    assert security_of(None, tmp_path) == "none"
    assert LocalCluster.found(tmp_path).client_settings().client == {}
    (tmp_path / "cluster.json").write_text(json.dumps(known | {"security": "scram-tls"}))
    assert security_of(None, tmp_path) == "scram-tls"
    assert LocalCluster.found(tmp_path).security == "scram-tls"
    assert security_of("none", tmp_path) == "none"
    with pytest.raises(StartupError, match="--security tls: it is none or scram-tls"):
        security_of("tls", tmp_path)
