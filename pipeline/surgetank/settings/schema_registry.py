"""The settings of a schema registry."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from surgetank.settings.section import Seconds, Section


class SchemaRegistrySettings(Section):
    """A schema registry with Confluent's HTTP API, which has the schemas that events were written with."""

    url: str = Field(
        default="",
        description="addresses of the registry, separated by commas; default: none, ids are those of schemas/ids.json",
    )
    user: str = Field(default="", description="name for HTTP basic authentication; default: none")
    password: SecretStr | None = Field(default=None, description="password of that user")
    password_file: Path | None = Field(default=None, description="file that holds the password of that user")
    ca_file: Path | None = Field(
        default=None, description="certificates (PEM) of the authorities of the registry; default: those of the machine"
    )
    cert_file: Path | None = Field(default=None, description="file of the client's own certificate, for mutual TLS")
    key_file: Path | None = Field(default=None, description="file of the private key of that certificate")
    key_file_password: SecretStr | None = Field(default=None, description="password of that file")
    timeout_seconds: Seconds = Field(
        default=30.0, gt=0, description="a request without an answer fails after this long"
    )
    not_found_seconds: Seconds = Field(
        default=10.0,
        ge=0,
        description="events with an id that the registry denies for this long are dead-lettered; they wait until then",
    )
    recheck_seconds: Seconds = Field(
        default=60.0,
        gt=0,
        description="interval between two checks that the registry has the same schemas for known ids",
    )

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        for each in url.split(",") if url else ():
            if not each.strip().startswith(("http://", "https://")):
                raise ValueError("each address begins with http:// or https://")
            if "@" in each:
                raise ValueError("no user in an address: set schema_registry.user and schema_registry.password")
        return url
