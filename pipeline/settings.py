"""The one tree of settings: flags, then environment (SURGETANK_SECTION__NAME), then surgetank.toml, then defaults.

An unknown name is an error in the file and in the environment alike. ``surgetank settings`` prints the tree.
"""

import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import SettingsError

PREFIX = "SURGETANK_"
FILE = Path("surgetank.toml")


class Section(BaseModel):
    """Base of every section: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """Where Kafka is and how its clients behave."""

    bootstrap: str = Field("127.0.0.1:9092", description="bootstrap servers, comma separated")
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto", description="KIP-848 'consumer', 'classic' cooperative-sticky, or what the broker has"
    )
    session_timeout_seconds: float = Field(
        6.0, gt=0, description="classic protocol only: KIP-848 takes the broker's group setting"
    )
    heartbeat_interval_seconds: float = Field(1.0, gt=0, description="classic protocol only")
    transaction_timeout_seconds: float = Field(
        10.0, ge=1, description="backstop: when the broker aborts the open transaction of a dead worker by itself"
    )
    reset: Literal["earliest", "latest"] = Field("earliest", description="where a group without offsets starts")
    client: dict[str, str] = Field(
        default_factory=dict, description="librdkafka options for every client (security.protocol, sasl.*)"
    )


class WorkerSettings(Section):
    """One worker process."""

    name: str = Field("", description="identity, unique among live workers; default: host, process, random")
    batch_rows_max: int = Field(8192, ge=1, description="rows in one batch; more only adds latency")
    commit_interval_seconds: float = Field(
        0.1, ge=0, le=5, description="a busy worker commits this often; an idle one after each batch"
    )
    buffered_rows_max: int = Field(
        40_000, ge=1, description="rows fetched and not yet in a batch; beyond it nothing more is fetched"
    )
    fetch_buffer_kilobytes: int = Field(32_768, ge=64, description="librdkafka's own prefetch, in all")
    close_deadline_seconds: float = Field(
        10.0, gt=0, description="a task that is given up has this long to commit what is open"
    )
    stuck_deadline_seconds: float = Field(
        60.0, gt=0, description="a task that lags and makes no progress this long ends the process with exit code 4"
    )


class ModelSettings(Section):
    """Which model answers. Going back to an older version is a change here and one restart."""

    directory: Path | None = Field(None, description="folder of bundles; default: models/ beside the topology file")
    name: str = Field("", description="bundle name; default: the pipeline's model")
    version: str = Field("", description="bundle version; default: the highest one present")
    threads: int = Field(1, ge=1, description="ONNX Runtime intra-op threads")
    call_deadline_seconds: float = Field(
        20.0, gt=0, description="a model call that takes longer ends the process with exit code 4"
    )


class DeadLetterSettings(Section):
    """When too many events are bad, a deploy is bad: stop instead of emptying the topic into the dead letters."""

    share_max: float = Field(0.5, gt=0, le=1, description="more than this share of bad events stops the worker")
    window_seconds: float = Field(60.0, gt=0, description="over this window")
    minimum_events: int = Field(1000, ge=1, description="but not before the window holds this many events")
    value_bytes_max: int = Field(262_144, ge=1, description="a longer event is dead-lettered without decoding it")


class TelemetrySettings(Section):
    """What the worker tells of itself."""

    port: int = Field(0, ge=0, le=65535, description="/metrics, /live, /ready; 0: any free port; it is logged")
    host: str = Field("127.0.0.1", description="address to bind")
    log_format: Literal["text", "json"] = Field("text", description="one line per event either way")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(Section):
    """The whole tree."""

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    model: ModelSettings = ModelSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @model_validator(mode="after")
    def _deadlines_fit(self) -> "Settings":
        if self.model.call_deadline_seconds >= self.worker.stuck_deadline_seconds:
            raise ValueError(
                "model.call_deadline_seconds must be below worker.stuck_deadline_seconds, or a slow model call "
                "would be reported as a stuck task"
            )
        return self

    @property
    def identity(self) -> str:
        """The worker's name: the set one, or one that no other process has."""
        return self.worker.name or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


def load(flags: dict[str, Any] | None = None, *, file: Path | None = None) -> Settings:
    """Merge flags over environment over file over defaults.

    ``flags`` maps dotted names (``kafka.bootstrap``) to values; None values are left out.
    Raises SettingsError, which names each wrong setting, where it came from and what is allowed.
    """
    path = file or Path(os.environ.get("SURGETANK_CONFIG", FILE))
    tree: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if file is not None or path.exists() or "SURGETANK_CONFIG" in os.environ:
        _merge(tree, origin, _flat(_read(path)), str(path))
    _merge(tree, origin, _environment(), "the environment")
    _merge(tree, origin, {k: v for k, v in (flags or {}).items() if v is not None}, "the command line")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem, origin) for problem in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path}: not TOML: {error}") from None


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict) and dotted != "kafka.client":
            flat |= _flat(value, f"{dotted}.")
        else:
            flat[dotted] = value
    return flat


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name == "SURGETANK_CONFIG" or "__" not in name:
            continue
        parts = name.removeprefix(PREFIX).lower().split("__")
        if parts[:2] == ["kafka", "client"] and len(parts) == 3:
            found.setdefault("kafka.client", {})[parts[2].replace("_", ".")] = value
        else:
            found[".".join(parts)] = value
    return found


def _merge(tree: dict[str, Any], origin: dict[str, str], flat: dict[str, Any], where: str) -> None:
    for dotted, value in flat.items():
        *sections, name = dotted.split(".")
        level = tree
        for section in sections:
            level = level.setdefault(section, {})
            if not isinstance(level, dict):
                raise SettingsError(f"setting {dotted!r} from {where}: {section!r} is not a section")
        level[name] = value
        origin[dotted] = where


def _explain(problem: Any, origin: dict[str, str]) -> str:
    dotted = ".".join(str(part) for part in problem["loc"])
    where = origin.get(dotted) or next((w for d, w in origin.items() if d.startswith(dotted)), "the settings")
    if problem["type"] == "extra_forbidden":
        known = _names(Settings, dotted)
        return f"unknown setting {dotted!r} (from {where}); known here: {', '.join(known)}"
    name = f"setting {dotted!r} = {problem.get('input')!r} (from {where})" if dotted else "settings"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def _names(model: type[BaseModel], dotted: str) -> list[str]:
    for part in dotted.split(".")[:-1]:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)
