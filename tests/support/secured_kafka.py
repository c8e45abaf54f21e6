"""A broker with TLS, users and access control lists (``--security scram-tls``) and further listeners beside its own.

They are one for PLAIN without TLS, one for TLS alone, one for TLS whose certificate has expired, one that demands a
certificate of the client, and one for tokens. Users other than ``admin`` may do what access control lists allow.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AclBinding, AclBindingFilter

from surgetank.kafka import clients
from surgetank.kafka.local.broker import Broker, free_ports
from surgetank.kafka.local.certificates import CertificateAuthority
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.cluster_layout import ClusterLayout, properties, render
from surgetank.kafka.local.java_runtime import find_java
from surgetank.kafka.local.scram_tls import ScramTls, set_password
from surgetank.settings import KafkaSettings
from tests.support.kafka_under_test import discard

USER, USERS_PASSWORD = "alice", "right"
LISTENERS = {"PLAIN": "SASL_PLAINTEXT", "TLS": "SSL", "EXPIRED": "SSL", "MUTUAL": "SSL", "TOKEN": "SASL_PLAINTEXT"}
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class SecuredKafka:
    """The cluster, the addresses of the further listeners, and the stores that were made for them."""

    cluster: LocalCluster
    sasl: str
    tls: str
    expired: str
    mutual: str
    token: str
    client_store: Path
    store_password: str

    @property
    def admin(self) -> KafkaSettings:
        """The settings of the user who may do everything."""
        return self.cluster.client_settings("admin")

    @property
    def authority(self) -> Path:
        """The certificate of the authority of every certificate."""
        return self.cluster.data / "security" / "ca.pem"

    def credentials(self, password: str = USERS_PASSWORD) -> dict[str, str]:
        """Return the client options of USER for the listener ``sasl``."""
        return {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }

    def user(self, name: str, password: str) -> KafkaSettings:
        """Give a user this password, a new user too; return the settings with which it logs in by SCRAM."""
        admin = clients.admin(self.admin)
        set_password(admin, name, password)
        options = {"sasl.username": name, "sasl.password": password}
        return KafkaSettings(bootstrap=self.admin.bootstrap, client=self.admin.client_options() | options)

    def revoke(self, rules: Sequence[AclBinding]) -> None:
        """Remove access control lists; each must exist."""
        admin = clients.admin(self.admin)
        exact = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in rules
        ]
        for future in admin.delete_acls(exact).values():
            assert len(future.result(30)) == 1

    def grant(self, rules: Sequence[AclBinding]) -> None:
        """Add access control lists."""
        admin = clients.admin(self.admin)
        for future in admin.create_acls(list(rules)).values():
            future.result(30)


@contextmanager
def secured(data: Path) -> Iterator[SecuredKafka]:
    """Run the broker with its data in this folder; kill it and remove the folder at the end."""
    try:
        cluster = LocalCluster(data, 1, free_ports(2 + len(LISTENERS)), security="scram-tls")
        cluster.up(timeout=120)
        cluster.stop(1)
        security = ScramTls(data / "security")
        password = json.loads((security.folder / "passwords.json").read_text())["store"]
        authority = CertificateAuthority(find_java(), security.folder, password)
        expired, client = authority.issue("expired", start="-9d", days=2), authority.issue("client")
        layout = ClusterLayout(1, cluster.port)
        ports = {name: layout.controller_port(1) + 1 + number for number, name in enumerate(LISTENERS)}
        own = properties(layout, 1, {}) | security.properties(layout, 1)
        Broker(1, data / "broker-1", layout.ports(1)).write(render(own | _listeners(own, ports, expired)))
        cluster.start(1)
        cluster.wait(120)
        address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        yield SecuredKafka(
            cluster,
            sasl=address["PLAIN"],
            tls=address["TLS"],
            expired=address["EXPIRED"],
            mutual=address["MUTUAL"],
            token=address["TOKEN"],
            client_store=client,
            store_password=password,
        )
    finally:
        discard(data)


def _listeners(own: dict[str, str], ports: dict[str, int], expired: Path) -> dict[str, str]:
    added = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    protocols = ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items())
    users = f'user_{USER}="{USERS_PASSWORD}"'
    return {
        "listeners": f"{own['listeners']},{added}",
        "advertised.listeners": f"{own['advertised.listeners']},{added}",
        "listener.security.protocol.map": f"{own['listener.security.protocol.map']},{protocols}",
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {users};",
        "listener.name.expired.ssl.keystore.location": str(expired),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        # Takes unsigned tokens.
        "listener.name.token.oauthbearer.sasl.jaas.config": (
            f'{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
    }
