"""A broker with further listeners: one for SASL, one for TLS, and one for TLS whose certificate has expired.

The listener without security is for tests that prepare something; its users may do everything. Others may do what
access control lists allow. Certificates are made by Java's keytool.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from surgetank.kafka.local.broker import Broker, free_ports
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.cluster_layout import ClusterLayout, properties, render
from surgetank.kafka.local.java_runtime import find_java
from tests.support.kafka_under_test import discard

PASSWORD = "changeit"
USER, USERS_PASSWORD = "alice", "right"
LISTENERS = {"SASL": "SASL_PLAINTEXT", "TLS": "SSL", "EXPIRED": "SSL"}


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """The addresses of the listeners, and the files of the certificates that clients would trust."""

    plain: str
    sasl: str
    tls: str
    expired: str
    tls_certificate: Path
    expired_certificate: Path

    def credentials(self, password: str = USERS_PASSWORD) -> dict[str, str]:
        """Return the client options of the user."""
        return {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }


@contextmanager
def secured(data: Path) -> Iterator[SecuredKafka]:
    """Run the broker with its data in this folder; kill it and remove the folder at the end."""
    try:
        cluster = LocalCluster(data, 1, free_ports(2 + len(LISTENERS)))
        cluster.up(timeout=120)
        cluster.stop(1)
        layout = ClusterLayout(1, cluster.port)
        stores = {"TLS": _certificate(data, "tls", "-1d"), "EXPIRED": _certificate(data, "expired", "-9d")}
        ports = {name: layout.controller_port(1) + 1 + number for number, name in enumerate(LISTENERS)}
        own = properties(layout, 1, {})
        Broker(1, data / "broker-1", layout.ports(1)).write(render(own | _listeners(own, ports, stores)))
        cluster.start(1)
        cluster.wait(120)
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        yield SecuredKafka(
            cluster.bootstrap,
            addresses["SASL"],
            addresses["TLS"],
            addresses["EXPIRED"],
            stores["TLS"].with_suffix(".pem"),
            stores["EXPIRED"].with_suffix(".pem"),
        )
    finally:
        discard(data)


def _certificate(folder: Path, name: str, start: str) -> Path:
    """Make a key and a certificate, valid for two days from ``start``; return its store, beside which it is as PEM."""
    store = folder / f"{name}.p12"
    common = ["-alias", "broker", "-keystore", str(store), "-storetype", "PKCS12", "-storepass", PASSWORD]
    names = ["-dname", "CN=localhost", "-ext", "SAN=ip:127.0.0.1,dns:localhost", "-validity", "2", "-startdate", start]
    keytool = str(Path(find_java().path).resolve().with_name("keytool"))
    subprocess.run([keytool, "-genkeypair", "-keyalg", "EC", *names, *common], check=True, capture_output=True)
    made = subprocess.run([keytool, "-exportcert", "-rfc", *common], check=True, capture_output=True)
    store.with_suffix(".pem").write_bytes(made.stdout)
    return store


def _listeners(own: dict[str, str], ports: dict[str, int], stores: dict[str, Path]) -> dict[str, str]:
    added = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | LISTENERS
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    keys = {
        f"listener.name.{name.lower()}.ssl.keystore.{option}": value
        for name, store in stores.items()
        for option, value in (("location", str(store)), ("type", "PKCS12"), ("password", PASSWORD))
    }
    return keys | {
        "listeners": f"{own['listeners']},{added}",
        "advertised.listeners": f"{own['advertised.listeners']},{added}",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{login} required user_{USER}="{USERS_PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
