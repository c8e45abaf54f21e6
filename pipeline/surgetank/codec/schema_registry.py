"""The client of a schema registry: Confluent's HTTP API, by confluent-kafka's client, an optional package."""

import os
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from surgetank.codec.avro.references import inlined
from surgetank.codec.schema_ids import RegisteredSchema, SchemaKey
from surgetank.errors import SettingsError, SurgetankError
from surgetank.settings import SchemaRegistrySettings

T = TypeVar("T")

_NOT_FOUND = {40401, 40402, 40403, 40408}  # no such subject, version, schema, subject with a level of its own
_MESSAGE_MAX = 200


class RegistryUnavailableError(SurgetankError):
    """The registry did not answer, or answered with an error that says nothing about what was asked for."""


class NotRegisteredError(SurgetankError):
    """The registry answered that it does not have what was asked for."""


class IncompatibleError(SurgetankError):
    """The registry refuses a schema, because it is not compatible with those of its subject."""


class SchemaRegistry:
    """Asks a registry; each call waits for the answer, at most ``timeout_seconds``.

    All calls raise RegistryUnavailableError. Raises SettingsError if the package for it is not installed, or if a file
    of the settings cannot be used.
    """

    def __init__(self, settings: SchemaRegistrySettings) -> None:
        try:
            from confluent_kafka import schema_registry
        except ImportError as error:
            raise SettingsError(
                f"schema_registry.url is set, and the client of a registry is not installed ({error.name}); run: "
                "pip install 'surgetank[registry]'"
            ) from None
        self._library: Any = schema_registry
        self._url = settings.url
        try:
            self._client: Any = schema_registry.SchemaRegistryClient(_options(settings))
        except (OSError, ValueError) as error:
            raise SettingsError(f"schema_registry: the client cannot be made: {error}") from None

    def schema(self, schema_id: SchemaKey) -> RegisteredSchema:
        """Return the schema of an id, with the schemas that it refers to. Raises NotRegisteredError."""
        by_guid = isinstance(schema_id, UUID)
        found = self._ask(
            lambda: self._client.get_schema_by_guid(str(schema_id)) if by_guid else self._client.get_schema(schema_id)
        )
        return RegisteredSchema(found.schema_type or "AVRO", self._whole(found))

    def _whole(self, schema: Any) -> str:
        """Return the text of a schema; types of other subjects that an Avro schema refers to are put into it."""
        if not schema.references or (schema.schema_type or "AVRO") != "AVRO":
            return str(schema.schema_str)
        named = [self._ask(partial(self._client.get_version, each.subject, each.version)) for each in schema.references]
        try:
            return inlined(str(schema.schema_str), [self._whole(each.schema) for each in named])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return str(schema.schema_str)  # which is refused, for a type that it does not define

    def latest(self, subject: str) -> tuple[int, int, str] | None:
        """Return the id, version and text of a subject's latest schema; None if it has none."""
        try:
            found = self._ask(lambda: self._client.get_latest_version(subject))
        except NotRegisteredError:
            return None
        return int(found.schema_id), int(found.version), str(found.schema.schema_str)

    def find(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return the id and version of an Avro schema under a subject, in any version; None if it is in none."""
        schema = self._library.Schema(text, "AVRO")
        try:
            found = self._ask(lambda: self._client.lookup_schema(subject, schema))
        except NotRegisteredError:
            return None
        return int(found.schema_id), int(found.version)

    def register(self, subject: str, text: str) -> int:
        """Register an Avro schema, if it is not registered yet; return its id. Raises IncompatibleError."""
        return int(self._ask(lambda: self._client.register_schema(subject, self._library.Schema(text, "AVRO"))))

    def is_compatible(self, subject: str, text: str) -> bool:
        """Return whether the registry would take an Avro schema as the next version of a subject that it has."""
        schema = self._library.Schema(text, "AVRO")
        return bool(self._ask(lambda: self._client.test_compatibility(subject, schema)))

    def compatibility(self, subject: str) -> str | None:
        """Return the compatibility level of a subject, such as BACKWARD; None if it has none of its own."""
        try:
            return str(self._ask(lambda: self._client.get_compatibility(subject)))
        except NotRegisteredError:
            return None

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of a subject."""
        self._ask(lambda: self._client.set_compatibility(subject, level))

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            self._client.clear_caches()  # the answer must be that of now
            return call()
        except self._library.SchemaRegistryError as error:
            text = f"{self._url}: {error}"[:_MESSAGE_MAX]
            if error.error_code in _NOT_FOUND:
                raise NotRegisteredError(text) from None
            if error.http_status_code == HTTPStatus.CONFLICT:
                raise IncompatibleError(text) from None
            if error.http_status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                text += "; check schema_registry.user and schema_registry.password"
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                text += "; check the path of schema_registry.url"
            raise RegistryUnavailableError(text) from None
        except Exception as error:  # noqa: BLE001 - the client raises the errors of its HTTP library and of its parsers
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise RegistryUnavailableError(f"{self._url}: {why}"[:_MESSAGE_MAX] + _advice(why)) from None


def _advice(why: str) -> str:
    """Return what to correct if a connection failed because of a certificate."""
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return "; check schema_registry.ca_file, the certificates of the authorities of the registry"
    if "ALERT" in why and "SSL" in why:  # the registry ended the handshake
        return "; check schema_registry.cert_file and schema_registry.key_file, the certificate of this client"
    return ""


def _password(settings: SchemaRegistrySettings) -> str:
    if settings.password_file is not None:
        return settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    return settings.password.get_secret_value() if settings.password else ""


def _options(settings: SchemaRegistrySettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "url": settings.url,
        "timeout": settings.timeout_seconds,
        "max.retries": 0,  # when to ask again is decided here
    }
    if settings.user:
        options["basic.auth.user.info"] = f"{settings.user}:{_password(settings)}"
    files = {
        "ssl.ca.location": settings.ca_file,
        "ssl.certificate.location": settings.cert_file,
        "ssl.key.location": settings.key_file,
    }
    options |= {name: os.fspath(path) for name, path in files.items() if path is not None}
    if settings.key_file_password:
        options["ssl.key.password"] = settings.key_file_password.get_secret_value()
    return options
