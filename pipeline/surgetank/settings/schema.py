"""The settings: sections, names, types, units, bounds, defaults and what each one means.

Pure values: constructing a model reads neither the environment nor a file; ``loader.load`` does.
``docs/settings.md`` is generated from this file.
"""

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from surgetank.errors import SettingsError
from surgetank.settings.http_endpoints import HttpSettings
from surgetank.settings.models import ModelSettings, RolloutSettings
from surgetank.settings.schema_registry import SchemaRegistrySettings
from surgetank.settings.secret_options import file_clashes, protected, revealed, with_secrets_of_files
from surgetank.settings.section import (
    Bytes,
    Days,
    Events,
    Hours,
    Kilobytes,
    Mebibytes,
    Partitions,
    Records,
    Rows,
    Seconds,
    Section,
    Share,
)

ENVIRONMENT_PREFIX = "SURGETANK_"
SEPARATOR = "__"  # between section and name of a variable


def _option(value: object) -> str | SecretStr:
    """Return a value of a librdkafka option: text, in the open or as a secret."""
    if not isinstance(value, str | SecretStr):
        raise ValueError("Input should be a valid string")  # noqa: TRY004 - pydantic collects no TypeError
    return value


Option = Annotated[str | SecretStr, PlainValidator(_option)]


class KafkaSettings(Section):
    """Addresses and client options of Kafka."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="bootstrap servers, separated by commas")
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        default="auto",
        description="rebalance protocol: 'consumer' (KIP-848), 'classic' (cooperative-sticky), or 'auto': the one that "
        "the broker supports",
    )
    session_timeout_seconds: Seconds = Field(
        default=6.0,
        gt=0,
        description="a member without heartbeats for this long leaves the group; classic protocol only: with KIP-848 "
        "the group's setting on the broker applies",
    )
    heartbeat_interval_seconds: Seconds = Field(
        default=1.0, gt=0, description="interval between two heartbeats; classic protocol only"
    )
    static_membership: bool = Field(
        default=False,
        description="a worker that restarts under its name keeps its partitions (group.instance.id). The cost: no "
        "other worker serves them until it is back or, after it stopped for good, until its session expires",
    )
    transaction_timeout_seconds: Seconds = Field(
        default=10.0,
        ge=1,
        description="the broker aborts the open transaction of a worker that died after this time at the latest",
    )
    reset: Literal["earliest", "latest"] = Field(
        default="earliest", description="where a consumer group without committed offsets starts"
    )
    client: dict[str, Option] = Field(
        default_factory=dict,
        description="librdkafka options for every client (security.protocol, sasl.*); sasl.password_file is the file "
        "of sasl.password, and so for each secret",
    )

    @field_validator("client")
    @classmethod
    def _protect(cls, client: dict[str, Option]) -> dict[str, Option]:
        if clashes := file_clashes(client):
            raise ValueError(f"{clashes[0]} and {clashes[0]}_file are both set; remove one of them")
        return {name: protected(name, value) for name, value in client.items()}

    def client_options(self) -> dict[str, str]:
        """Return the librdkafka options with their secrets in the open: for the constructor of a client, no log.

        Files of secrets are read anew with each call. Raises SettingsError for one that cannot be read.
        """
        return with_secrets_of_files({name: revealed(value) for name, value in self.client.items()})


class WorkerSettings(Section):
    """One worker process."""

    name: str = Field(
        default="", description="identity, unique among live workers; default: host name, process id and a random part"
    )
    batch_rows_max: Rows = Field(
        default=8192, ge=1, description="maximum size of a batch; larger batches only add latency"
    )
    batch_kilobytes_max: Kilobytes = Field(
        default=32_768,
        ge=1,
        le=1_048_576,
        description="maximum size of the keys, values and headers in a batch; a larger record is a batch by itself",
    )
    commit_interval_seconds: Seconds = Field(
        default=0.1,
        ge=0,
        le=5,
        description="interval between two commits of a worker under full load; one that keeps up commits as soon as it "
        "has no more work, at most ten times as often",
    )
    buffered_rows_max: Rows = Field(
        default=40_000,
        ge=1,
        description="maximum number of rows fetched and not yet in a batch; at this number fetching pauses",
    )
    buffered_kilobytes_max: Kilobytes = Field(
        default=65_536,
        ge=1,
        description="maximum size of the keys, values and headers fetched and not yet in a batch; at this size "
        "fetching pauses. One read may exceed it, by 16 MiB or by fetch_buffer_kilobytes where records suddenly become "
        "larger",
    )
    fetch_buffer_kilobytes: Kilobytes = Field(
        default=32_768, ge=64, description="size of librdkafka's fetch queues, of all partitions together"
    )
    close_deadline_seconds: Seconds = Field(
        default=10.0, gt=0, description="a task that is revoked has this long to commit its open transaction"
    )
    stuck_deadline_seconds: Seconds = Field(
        default=60.0,
        gt=0,
        description="a task that lags and makes no progress for this long ends the process with exit code 4",
    )


class SchemaSettings(Section):
    """The schemas of the project. Those of what the engine writes come with the engine."""

    directory: Path = Field(default=Path("schemas"), description="folder of the project's schemas and their ids")


class DeadLetterSettings(Section):
    """When to stop instead of dead-lettering: a large share of bad events means a faulty deployment."""

    share_max: Share = Field(
        default=0.5, gt=0, le=1, description="a larger share of bad events in the window stops the worker"
    )
    window_seconds: Seconds = Field(default=60.0, gt=0, description="length of the window for that share")
    minimum_events: Events = Field(
        default=1000, ge=1, description="the share is not evaluated while the window holds fewer events than this"
    )
    value_bytes_max: Bytes = Field(
        default=262_144, ge=1, description="a longer event is dead-lettered without being decoded"
    )


class StateSettings(Section):
    """Keyed state on the local disk of a worker; its changelogs in Kafka hold all of it too."""

    directory: Path | None = Field(
        default=None, description="folder of local state; default: surgetank/ in the user's XDG_STATE_HOME"
    )
    memory_mib: Mebibytes = Field(
        default=256, ge=8, description="memory for the state of the whole worker: caches, write buffers, open rows"
    )
    restore_share: Share = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of one core's time for restoring while nearly all tasks run; it grows as fewer tasks run, "
        "up to 1 when none does",
    )
    future_hours_max: Hours = Field(
        default=24.0,
        ge=0,
        description="events timestamped further ahead of their arrival than this are scored but do not update state",
    )
    past_days_max: Days = Field(
        default=18_262.0,
        ge=0,
        description="events timestamped further before their arrival than this are scored but do not update state; "
        "default: 50 years",
    )
    forget_rows: Rows = Field(
        default=512, ge=0, description="rows checked for expiry with each batch; 0: none, rows do not expire"
    )
    drain: bool = Field(
        default=False,
        description="start although topics have more partitions than the state: process only the partitions that have "
        "state",
    )

    @property
    def folder(self) -> Path:
        """The folder that is set, or that of this user. Raises SettingsError if the user has no home folder."""
        if self.directory is not None:
            return self.directory
        try:
            return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "surgetank"
        except RuntimeError:
            raise SettingsError(
                "this user has no home folder for local state: set state.directory (SURGETANK_STATE__DIRECTORY)"
            ) from None


class FeatureSettings(Section):
    """The log of computed features."""

    record: bool = Field(
        default=False,
        description="write the features of each scored event to <pipeline>.features, for `surgetank features compare`",
    )


class TelemetrySettings(Section):
    """The HTTP endpoint and the log of a worker."""

    port: int = Field(
        default=0, ge=0, le=65535, description="port of /metrics, /live, /ready; 0: any free port, written to the log"
    )
    host: str = Field(default="127.0.0.1", description="address to bind")
    address: str = Field(
        default="",
        description="address at which other workers reach this one, as http://host:port; default: the bound address",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="format of the log, one line per event")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="lowest level that is logged"
    )


class ExporterSettings(Section):
    """The lag exporter: the groups that it measures, and how often."""

    groups: str = Field(
        default=".*", description="regular expression that matches the whole names of the consumer groups to measure"
    )
    interval_seconds: Seconds = Field(
        default=10.0, ge=0.5, description="interval between the starts of two measurements of all groups"
    )
    answer_seconds: Seconds = Field(
        default=30.0, gt=0, description="Kafka counts as unavailable after this long without an answer"
    )
    partitions_max: Partitions = Field(
        default=50_000,
        ge=1,
        description="maximum number of partitions exposed; the groups beyond it are counted and left out",
    )
    heads_max: Records = Field(
        default=200,
        ge=0,
        description="oldest records read per measurement, for exact lag in seconds; the lag of the other partitions is "
        "interpolated",
    )

    @field_validator("groups")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Settings(BaseSettings):
    """All settings. ``Settings()`` is the defaults and ``Settings(worker=...)`` what is given: no source is read."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=SEPARATOR,
        env_ignore_empty=True,
        enable_decoding=False,  # a variable holds one value, not JSON
    )

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    schemas: SchemaSettings = SchemaSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    model: ModelSettings = ModelSettings()
    rollout: RolloutSettings = RolloutSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    state: StateSettings = StateSettings()
    features: FeatureSettings = FeatureSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    http: HttpSettings = HttpSettings()
    exporter: ExporterSettings = ExporterSettings()

    @model_validator(mode="after")
    def _deadlines_fit(self) -> "Settings":
        _below(
            ("model.call_deadline_seconds", self.model.call_deadline_seconds),
            ("worker.stuck_deadline_seconds", self.worker.stuck_deadline_seconds),
            "or a slow model call would be reported as a stuck task",
        )
        _below(
            ("worker.commit_interval_seconds", self.worker.commit_interval_seconds),
            ("kafka.transaction_timeout_seconds", self.kafka.transaction_timeout_seconds),
            "or the broker would abort a transaction before the worker commits it",
        )
        _below(
            ("kafka.heartbeat_interval_seconds", self.kafka.heartbeat_interval_seconds),
            ("kafka.session_timeout_seconds", self.kafka.session_timeout_seconds),
            "or the group would lose a worker between two heartbeats",
        )
        if self.schema_registry.password and self.schema_registry.password_file:
            raise ValueError("set schema_registry.password or schema_registry.password_file, not both")
        if self.schema_registry.key_file and not self.schema_registry.cert_file:
            raise ValueError("schema_registry.key_file needs schema_registry.cert_file, the certificate of the key")
        if self.kafka.static_membership and not self.worker.name:
            raise ValueError(
                "kafka.static_membership needs worker.name: a name that the worker has again after a restart"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is that of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return what was given to the constructor as the only source; ``loader.load`` brings its own sources."""
        return (init_settings,)

    @property
    def identity(self) -> str:
        """The worker's name: the set one, or one that no other process has."""
        return self.worker.name or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


def _below(small: tuple[str, float], large: tuple[str, float], reason: str) -> None:
    if small[1] >= large[1]:
        raise ValueError(f"{small[0]} ({small[1]:g}) must be below {large[0]} ({large[1]:g}), {reason}")
