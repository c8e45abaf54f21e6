"""A local cluster with TLS, users with passwords (SCRAM) and access control lists, as clusters of production have them.

The folder ``security`` of the cluster holds certificates, passwords, and for each user a settings file, which commands
take with ``--config``. All of them are readable by their owner only.
"""

import json
import secrets
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from surgetank.errors import BrokerError
from surgetank.kafka.local.certificates import CertificateAuthority
from surgetank.kafka.local.cluster_layout import ClusterLayout
from surgetank.kafka.local.java_runtime import Java
from surgetank.settings import KafkaSettings

BROKER = "broker"  # of the brokers themselves, and of the commands that start and stop them
ADMIN = "admin"  # may do everything
APP = "app"  # may do what access control lists allow
_LOGIN = "org.apache.kafka.common.security"
_ITERATIONS = 4096
_CALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ScramTls:
    """The security of the cluster with this folder."""

    folder: Path

    def make(self, java: Java) -> None:
        """Make certificates and passwords unless they exist. Raises StartupError if keytool fails."""
        if self.folder.is_dir():
            return
        with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix="security-") as name:  # for its owner only
            scratch = Path(name) / "made"
            scratch.mkdir(mode=0o700)
            passwords = {each: secrets.token_urlsafe(24) for each in ("store", BROKER, ADMIN, APP)}
            authority = CertificateAuthority(java, scratch, passwords["store"])
            authority.make()
            authority.issue(BROKER)
            _write(scratch / "passwords.json", json.dumps(passwords, indent=2) + "\n")
            scratch.rename(self.folder)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def properties(self, layout: ClusterLayout, broker: int) -> dict[str, str]:
        """Return the properties that secure a broker.

        Controllers and brokers know each other by their certificate; brokers log in to each other by PLAIN, inside TLS,
        which needs no user in the cluster's metadata.
        """
        password = self._passwords[BROKER]
        client = f"SASL_SSL://127.0.0.1:{layout.client_port(broker)}"
        user = f'username="{BROKER}" password="{password}" user_{BROKER}="{password}"'
        return {
            "listeners": f"{client},CONTROLLER://127.0.0.1:{layout.controller_port(broker)}",
            "advertised.listeners": client,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {user};",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self.folder / f"{BROKER}.p12"),
            "ssl.keystore.password": self._passwords["store"],
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.folder / "ca.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:CN={BROKER};User:{BROKER};User:{ADMIN}",
        }

    def write_settings(self, bootstrap: str) -> None:
        """Write the settings file of each user."""
        for user in (BROKER, ADMIN, APP):
            lines = [f"bootstrap = {json.dumps(bootstrap)}", "", "[kafka.client]", *_toml(self._client(user))]
            _write(self.settings_file(user), "\n".join(["[kafka]", *lines]) + "\n")

    def settings_file(self, user: str) -> Path:
        """Return the settings file of a user."""
        return self.folder / f"{user}.toml"

    def settings(self, user: str) -> KafkaSettings:
        """Return the settings of a user, as its file has them."""
        return KafkaSettings(**tomllib.loads(self.settings_file(user).read_text())["kafka"])

    def add_users(self, admin: AdminClient) -> None:
        """Give the users their passwords in the cluster. Repeating it changes nothing. Raises BrokerError."""
        for user in (ADMIN, APP):
            set_password(admin, user, self._passwords[user])

    @property
    def _passwords(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "passwords.json").read_text())
        return found

    def _client(self, user: str) -> Mapping[str, str]:
        return {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "PLAIN" if user == BROKER else "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self._passwords[user],
            "ssl.ca.location": str(self.folder / "ca.pem"),
        }


def set_password(admin: AdminClient, user: str, password: str) -> None:
    """Set a user's password, for SCRAM-SHA-256 and SCRAM-SHA-512; add the user if new. Raises BrokerError."""
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # a request changes a user once
        change = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, _ITERATIONS), password.encode())
        try:
            for future in admin.alter_user_scram_credentials([change], request_timeout=_CALL_SECONDS).values():
                future.result(_CALL_SECONDS)
        except KafkaException as error:
            raise BrokerError(f"the password of user {user} cannot be set: {error.args[0].str()}") from None


def _toml(options: Mapping[str, str]) -> Iterator[str]:
    for name, value in options.items():
        yield f'"{name}" = {json.dumps(value, ensure_ascii=False)}'


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner can read, also while it is written."""
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
