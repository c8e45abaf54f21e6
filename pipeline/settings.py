"""The one tree of settings: defaults, under surgetank.toml, under the environment, under flags.

In the environment a setting is SURGETANK_<SECTION>__<NAME>; an empty variable counts as not set. An unknown
name is an error in the file and in the environment alike. ``surgetank settings`` prints the tree.
"""

import os
import re
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.client_options import OPTIONS, ClientOptions, masked
from pipeline.errors import SettingsError

PREFIX = "SURGETANK_"
FILE = Path("surgetank.toml")
NOT_SETTINGS = frozenset({"SURGETANK_CONFIG", "SURGETANK_CACHE"})  # where the file is, and the downloads


class Section(BaseModel):
    """Base of every section: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KafkaSettings(Section):
    """Where Kafka is and how its clients behave."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="bootstrap servers, comma separated")
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        default="auto", description="KIP-848 'consumer', 'classic' cooperative-sticky, or what the broker has"
    )
    session_timeout_seconds: float = Field(
        default=6.0, gt=0, description="classic protocol only: KIP-848 takes the broker's group setting"
    )
    heartbeat_interval_seconds: float = Field(default=1.0, gt=0, description="classic protocol only")
    static_membership: bool = Field(
        default=False,
        description="a worker that restarts under its name keeps its partitions (group.instance.id). Its price: nobody "
        "serves them meanwhile, nor after it stopped for good, until its session has ended",
    )
    transaction_timeout_seconds: float = Field(
        default=10.0,
        ge=1,
        description="backstop: when the broker aborts the open transaction of a dead worker by itself",
    )
    reset: Literal["earliest", "latest"] = Field(default="earliest", description="where a group without offsets starts")
    client: dict[str, str] = Field(
        default_factory=ClientOptions, description="librdkafka options for every client (security.protocol, sasl.*)"
    )

    @field_validator("client")
    @classmethod
    def _hide_secrets(cls, options: dict[str, str]) -> ClientOptions:
        return ClientOptions(options)


class WorkerSettings(Section):
    """One worker process."""

    name: str = Field(default="", description="identity, unique among live workers; default: host, process, random")
    batch_rows_max: int = Field(default=8192, ge=1, description="rows in one batch; more only adds latency")
    commit_interval_seconds: float = Field(
        default=0.1,
        ge=0,
        le=5,
        description="a flooded worker commits this often; one that keeps up at once, at most five times as often",
    )
    buffered_rows_max: int = Field(
        default=40_000,
        ge=1,
        description="rows fetched and not yet in a batch; beyond it nothing more is fetched",
    )
    fetch_buffer_kilobytes: int = Field(default=32_768, ge=64, description="librdkafka's own prefetch, in all")
    close_deadline_seconds: float = Field(
        default=10.0, gt=0, description="a task that is given up has this long to commit what is open"
    )
    stuck_deadline_seconds: float = Field(
        default=60.0,
        gt=0,
        description="a task that lags and makes no progress this long ends the process with exit code 4",
    )


class ModelSettings(Section):
    """Which model answers. Going back to an older version is a change here and one restart."""

    directory: Path | None = Field(
        default=None, description="folder of bundles; default: models/ beside the topology file"
    )
    name: str = Field(default="", description="bundle name; default: the pipeline's model")
    version: str = Field(default="", description="bundle version; default: the highest one present")
    threads: int = Field(default=1, ge=1, description="ONNX Runtime intra-op threads")
    call_deadline_seconds: float = Field(
        default=20.0, gt=0, description="a model call that takes longer ends the process with exit code 4"
    )


class DeadLetterSettings(Section):
    """When too many events are bad, a deploy is bad: stop, do not empty the topic into the dead letters."""

    share_max: float = Field(default=0.5, gt=0, le=1, description="more than this share of bad events stops the worker")
    window_seconds: float = Field(default=60.0, gt=0, description="over this window")
    minimum_events: int = Field(default=1000, ge=1, description="but not before the window holds this many events")
    value_bytes_max: int = Field(
        default=262_144, ge=1, description="a longer event is dead-lettered without decoding it"
    )


class StateSettings(Section):
    """What a worker remembers of keys, on its own disk; Kafka has all of it too."""

    directory: Path | None = Field(
        default=None, description="folder of local state; default: surgetank/ in the user's XDG_STATE_HOME"
    )
    memory_mib: int = Field(
        default=256, ge=8, description="memory for state of the whole worker: cache, write buffers, open rows"
    )
    restore_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="restoring takes this share of the time of one core where nearly all tasks run; the fewer run, the "
        "more, and all of it where none does",
    )
    future_hours_max: float = Field(
        default=24.0, ge=0, description="an event further ahead of its arrival than this may read, but changes nothing"
    )
    past_days_max: float = Field(
        default=18_262.0, ge=0, description="and so may one that is further behind than this; default: 50 years"
    )
    forget_rows: int = Field(
        default=512, ge=0, description="rows looked at with each batch, to forget old ones; 0: none"
    )
    drain: bool = Field(
        default=False,
        description="start although topics have more partitions than the state: work off those that it has",
    )

    @property
    def folder(self) -> Path:
        """The folder that is set, or that of this user."""
        if self.directory is not None:
            return self.directory
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "surgetank"


class FeatureSettings(Section):
    """What a worker writes down of the features that it computed."""

    record: bool = Field(
        default=False,
        description="the features of each scored event go to <pipeline>.features, for `surgetank features compare`",
    )


class TelemetrySettings(Section):
    """What the worker tells of itself."""

    port: int = Field(default=0, ge=0, le=65535, description="/metrics, /live, /ready; 0: any free port; it is logged")
    host: str = Field(default="127.0.0.1", description="address to bind")
    address: str = Field(
        default="", description="where other workers reach this one, as http://host:port; default: what is bound"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="one line per event either way")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="what is below is dropped"
    )


class ExporterSettings(Section):
    """The lag exporter: whose lag it tells, and how often it looks."""

    groups: str = Field(default=".*", description="regular expression: the consumer groups to tell of, whole names")
    interval_seconds: float = Field(default=10.0, ge=0.5, description="from one look at all groups to the next")
    answer_seconds: float = Field(default=30.0, gt=0, description="after so long without an answer Kafka is away")
    partitions_max: int = Field(
        default=50_000, ge=1, description="partitions of groups on the page; groups beyond are counted and left out"
    )
    heads_max: int = Field(
        default=200,
        ge=0,
        description="oldest records read per look, for exact lag in seconds; the others are interpolated",
    )

    @field_validator("groups")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Settings(Section):
    """The whole tree."""

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    model: ModelSettings = ModelSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    state: StateSettings = StateSettings()
    features: FeatureSettings = FeatureSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
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
        if self.kafka.static_membership and not self.worker.name:
            raise ValueError(
                "kafka.static_membership needs worker.name: a name that the worker has again after a restart"
            )
        return self

    @property
    def identity(self) -> str:
        """The worker's name: the set one, or one that no other process has."""
        return self.worker.name or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


def _below(small: tuple[str, float], large: tuple[str, float], reason: str) -> None:
    if small[1] >= large[1]:
        raise ValueError(f"{small[0]} ({small[1]:g}) must be below {large[0]} ({large[1]:g}), {reason}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of the tree, for whoever asks what is set. Secrets are masked."""

    name: str
    value: Any
    default: Any
    origin: str
    variable: str
    description: str


def load(flags: dict[str, Any] | None = None, *, file: Path | None = None) -> Settings:
    """Merge flags over environment over file over defaults.

    ``flags`` maps dotted names (``kafka.bootstrap``) to values; None values are left out.
    Raises SettingsError, which names each wrong setting, where it came from and what is allowed.
    """
    return _validated(*_gathered(flags, file))


def describe(flags: dict[str, Any] | None = None, *, file: Path | None = None) -> list[Setting]:
    """Return every setting as ``load`` would set it, with its default and where it came from.

    Raises SettingsError as ``load`` does.
    """
    tree, origin = _gathered(flags, file)
    settings = _validated(tree, origin)
    found = []
    for section, at in Settings.model_fields.items():
        values, defaults = getattr(settings, section), at.get_default(call_default_factory=True)
        for name, leaf in type(values).model_fields.items():
            dotted = f"{section}.{name}"
            set_by = [where for each, where in origin.items() if each == dotted or each.startswith(f"{dotted}.")]
            found.append(
                Setting(
                    name=dotted,
                    value=masked(dotted, getattr(values, name)),
                    default=getattr(defaults, name),
                    origin=" + ".join(dict.fromkeys(set_by)) or "default",
                    variable=f"{PREFIX}{section}__{name}".upper() + ("__<OPTION>" if dotted == OPTIONS else ""),
                    description=leaf.description or "",
                )
            )
    return found


def _gathered(flags: dict[str, Any] | None, file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged tree, and for each dotted name in it where it came from."""
    path = file or Path(os.environ.get("SURGETANK_CONFIG") or FILE)
    tree: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if file is not None or path.exists() or os.environ.get("SURGETANK_CONFIG"):
        _merge(tree, origin, _flat(_read(path)), str(path))
    _merge(tree, origin, _environment(), "the environment")
    _merge(tree, origin, {k: v for k, v in (flags or {}).items() if v is not None}, "the command line")
    return tree, origin


def _validated(tree: dict[str, Any], origin: dict[str, str]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem, origin) for problem in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path}: not UTF-8: byte {error.start} is wrong") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path}: not TOML: {error}") from None


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{dotted}.")
        else:
            flat[dotted] = value
    return flat


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if "__" not in name:
            raise SettingsError(
                f"unknown variable {name!r} in the environment; settings are {PREFIX}<SECTION>__<NAME>, "
                "with two underscores between"
            )
        dotted = name.removeprefix(PREFIX).lower().replace("__", ".")
        if dotted.startswith(f"{OPTIONS}."):
            dotted = f"{OPTIONS}.{dotted.removeprefix(f'{OPTIONS}.').replace('_', '.')}"
        if value:
            found[dotted] = value
    return found


def _merge(tree: dict[str, Any], origin: dict[str, str], flat: dict[str, Any], where: str) -> None:
    for dotted, value in flat.items():
        *sections, name = _parts(dotted)
        level = tree
        for section in sections:
            level = level.setdefault(section, {})
            if not isinstance(level, dict):
                raise SettingsError(f"setting {dotted!r} from {where}: {section!r} is not a section")
        level[name] = value
        origin[dotted] = where


def _parts(dotted: str) -> list[str]:
    """Split a dotted name; the name of a librdkafka option keeps its dots."""
    if dotted.startswith(f"{OPTIONS}."):
        return [*OPTIONS.split("."), dotted.removeprefix(f"{OPTIONS}.")]
    return dotted.split(".")


def _explain(problem: Any, origin: dict[str, str]) -> str:
    dotted = ".".join(str(part) for part in problem["loc"])
    where = origin.get(dotted) or next((w for d, w in origin.items() if d.startswith(f"{dotted}.")), "the settings")
    if problem["type"] == "extra_forbidden":
        known = _names(Settings, dotted)
        return f"unknown setting {dotted!r} (from {where}); known here: {', '.join(known)}"
    if problem["type"] == "model_type":
        known = _names(Settings, f"{dotted}.")
        return f"setting {dotted!r} (from {where}) is a section; known in it: {', '.join(known)}"
    name = f"setting {dotted!r} = {masked(dotted, problem.get('input'))!r} (from {where})" if dotted else "settings"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def _names(model: type[BaseModel], dotted: str) -> list[str]:
    for part in dotted.split(".")[:-1]:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)
