"""A registry with TLS: its certificate is checked, and a client's own one is sent."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from surgetank.codec.schema_registry import RegistryUnavailableError, SchemaRegistry
from surgetank.settings import SchemaRegistrySettings
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.registry_stage import READER

PASSWORD = "of the key"


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of a certificate that vouches for itself, and of its encrypted key."""

    certificate: Path
    key: Path


def identity(folder: Path, name: str) -> Identity:
    """Make a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - day, now + day)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = made.add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = made.sign(key, hashes.SHA256())
    found = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    found.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    found.key.write_bytes(key.private_bytes(*form))
    return found


@pytest.fixture
def server(tmp_path: Path) -> Identity:
    """Make the certificate of the registry."""
    return identity(tmp_path, "registry")


@pytest.fixture
def client(tmp_path: Path) -> Identity:
    """Make the certificate of the worker."""
    return identity(tmp_path, "worker")


@pytest.fixture
def stub(server: Identity, client: Identity) -> Iterator[RegistryStub]:
    """Run a registry that asks its clients for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key, PASSWORD)
    context.load_verify_locations(client.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    found = RegistryStub(tls=context)
    found.schemas = {1: READER}
    yield found
    found.stop()


def test_a_registry_with_mutual_tls(stub: RegistryStub, server: Identity, client: Identity) -> None:
    """The schema is returned to a client that has a certificate, whose key is encrypted."""
    settings = SchemaRegistrySettings(
        url=stub.url,
        ca_file=server.certificate,
        cert_file=client.certificate,
        key_file=client.key,
        key_file_password=SecretStr(PASSWORD),
    )
    assert "Event" in SchemaRegistry(settings).schema(1).text


def test_the_certificate_of_the_schema_registry_is_refused(stub: RegistryStub, client: Identity) -> None:
    """As while it is not available; the reason says that it is the certificate, and which setting names its issuer."""
    files = {"cert_file": client.certificate, "key_file": client.key, "key_file_password": SecretStr(PASSWORD)}
    settings = SchemaRegistrySettings(url=stub.url, **files)
    with pytest.raises(RegistryUnavailableError, match=r"(?s)CERTIFICATE_VERIFY_FAILED.*schema_registry\.ca_file"):
        SchemaRegistry(settings).schema(1)


def test_a_registry_refuses_a_client_without_a_certificate(stub: RegistryStub, server: Identity) -> None:
    """The reason names the setting."""
    settings = SchemaRegistrySettings(url=stub.url, ca_file=server.certificate)
    with pytest.raises(RegistryUnavailableError, match=r"schema_registry\.cert_file"):
        SchemaRegistry(settings).schema(1)
