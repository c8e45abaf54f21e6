"""A real Apache Kafka without Docker: one or three brokers as processes on this machine, loopback only.

All data about a cluster is in its data folder, so that any process can inspect, stop or restart it: cluster.json holds
its shape; broker.py describes the contents of broker-1/ and so on.
"""

import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
from confluent_kafka.admin import AdminClient

from surgetank.clock import Clock, SystemClock
from surgetank.errors import BrokerError, StartupError
from surgetank.kafka import broker_inspection, clients
from surgetank.kafka.local import jars
from surgetank.kafka.local.broker import Broker, free_ports, stop_all
from surgetank.kafka.local.cluster_layout import BROKERS, ClusterLayout, new_cluster_id, properties, render, settings
from surgetank.kafka.local.file_lock import folder_lock
from surgetank.kafka.local.kafka_versions import DEFAULT, VARIABLE, chosen_version, numbers, preferred_version
from surgetank.kafka.local.scram_tls import BROKER, ScramTls
from surgetank.settings import KafkaSettings

Security = Literal["none", "scram-tls"]
_HEAP_MB = {1: 512, 3: 400}
_POLL_SECONDS = 0.05
_ABSENT = {"security": "none", "version": "4.3.1"}  # of the cluster in a folder that has no such entry
_STARTING, _USING = ".lock", ".user"  # locked while brokers start or stop; while a temporary cluster is in use

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """One broker: ``state`` is running, paused or down. Megabytes are 2^20 bytes; None if it is down."""

    id: int
    state: str
    port: int
    controller_port: int
    heap_mb: int
    log: str
    pid: int | None = None
    uptime_seconds: float | None = None
    resident_mb: float | None = None


@dataclass(frozen=True)
class LocalCluster:
    """One or three brokers in a data folder.

    Broker N listens for clients on ``port`` + N - 1; the same number of ports after those are the controllers'.
    ``settings`` are broker properties that override the development settings. ``heap_mb`` bounds the heap of each
    broker; 0: 512 for a single one, 400 for each of three. ``short_lived``: the brokers are needed for a minute or two,
    so the optimising compiler of the JVM, which uses a core for the first ten seconds of load, is off. ``security``:
    ``none``, or ``scram-tls``, which is described in scram_tls.py. ``version`` is that of Apache Kafka, empty: of
    kafka_versions.py. Raises StartupError for an impossible shape.
    """

    data: Path
    brokers: int = 1
    port: int = 9092
    settings: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 0
    short_lived: bool = False
    security: Security = "none"
    version: str = ""
    clock: Clock = field(default_factory=SystemClock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.brokers not in BROKERS:
            raise StartupError(f"a local Kafka has 1 or 3 brokers, not {self.brokers}")
        highest = 65_536 - 2 * self.brokers
        if not 1024 <= self.port <= highest:
            raise StartupError(f"port {self.port} for a local Kafka: choose one from 1024 to {highest}")
        object.__setattr__(self, "data", Path(self.data).absolute())
        object.__setattr__(self, "heap_mb", self.heap_mb or _HEAP_MB[self.brokers])
        object.__setattr__(self, "version", self.version or preferred_version())

    @classmethod
    def found(cls, data: Path) -> "LocalCluster":
        """Return the cluster of a data folder, running or not. Raises BrokerError if there is none."""
        known = _known(data)
        names = ("brokers", "port", "settings", "heap_mb", "security", "version")
        return cls(data, **{name: known[name] for name in names})

    @property
    def bootstrap(self) -> str:
        """The bootstrap servers of the cluster."""
        return self._layout.bootstrap

    @property
    def ids(self) -> range:
        """The broker ids, from 1."""
        return self._layout.ids

    def up(self, *, fresh: bool = False, timeout: float = 60.0) -> tuple[int, ...]:
        """Start the brokers that are down, resume the paused ones, wait until ready; return the started ones.

        ``fresh`` stops the running brokers and begins with empty data. If the call fails, it stops the brokers that it
        started. Raises StartupError (Java, jars, a port, another cluster in the folder) or BrokerError (a broker ends,
        or is not ready within ``timeout`` seconds).
        """
        self._check_folder()
        with self._locked():
            if not fresh:
                self._agreed()
            # After the checks, which need no download; before erasing, in case Java is missing.
            kafka = jars.ready(self.version)
            if fresh:
                self._erase()
            self._keep(self._agreed(), kafka)
            missing = [broker for broker in self._all() if broker.process is None]
            try:
                self._format(kafka, missing)
                for broker in self._all():
                    if broker in missing:
                        broker.launch(kafka, self.heap_mb, short_lived=self.short_lived)
                    else:
                        self.resume(broker.id)
                self.wait(timeout)
                if self._secured is not None and missing:
                    self._secured.add_users(self._admin())
            except BaseException:
                stop_all(missing, deadline_seconds=1.0)
                raise
        return tuple(broker.id for broker in missing)

    def down(self, deadline: float = 20.0) -> tuple[int, ...]:
        """Stop all brokers at once; return those that were killed at the deadline (seconds)."""
        if not self.data.is_dir():
            return ()
        with self._locked():
            return self._stop(self._all(), deadline)

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until every broker serves and a controller is active.

        Raises BrokerError at once, with the end of its log, if a broker does not run; or at the timeout (seconds), with
        the conditions that were not met.
        """
        cluster_id = self._cluster_id()

        def obstacle(admin: AdminClient) -> str | None:
            for broker in self._all():
                if broker.process is None:
                    raise BrokerError(f"broker {broker.id} does not run. {broker.log} ends:\n{broker.last_lines()}")
            return broker_inspection.unready(admin, cluster_id, self.brokers)

        self._until(obstacle, timeout, "ready")

    def wait_in_sync(self, timeout: float = 60.0) -> None:
        """Wait until every replica of every partition is in sync. Raises BrokerError at the timeout."""
        self._until(broker_inspection.unreplicated, timeout, "in sync")

    def status(self) -> tuple[BrokerStatus, ...]:
        """Return the status of each broker, without any request over the network."""
        return tuple(self._status(broker) for broker in self._all())

    def differing(self) -> tuple[broker_inspection.BrokerSetting, ...]:
        """Return the settings that differ from Kafka's defaults, as reported by the first running broker.

        Addresses and identities are left out. Raises BrokerError if no broker answers.
        """
        running = next((broker.id for broker in self._all() if broker.process), None)
        if running is None:
            raise BrokerError(f"no broker runs in {self.data}; `surgetank kafka up --data {self.data}` starts them")
        plumbing = {"broker.id", *self._properties(running)} - settings(self.brokers).keys()
        found = broker_inspection.broker_settings(self._admin(), running).values()
        return tuple(one for one in found if one.value != one.default and one.name not in plumbing)

    def kill(self, broker: int) -> None:
        """SIGKILL one broker and wait until it is gone."""
        self._one(broker).kill()

    def stop(self, broker: int, deadline: float = 20.0) -> bool:
        """Stop one broker; return whether it stopped within the deadline (seconds) without being killed."""
        return self._stop([self._one(broker)], deadline) == ()

    def start(self, broker: int) -> None:
        """Start one broker of a cluster that was up before, unless it runs; use ``wait`` to wait until it serves."""
        if self._one(broker).process is None:
            self._one(broker).launch(jars.ready(self.version), self.heap_mb, short_lived=self.short_lived)

    def pause(self, broker: int) -> None:
        """SIGSTOP one broker: its connections stay open without any response."""
        self._one(broker).pause()

    def resume(self, broker: int) -> None:
        """SIGCONT one broker; no effect if it is not paused."""
        self._one(broker).running().resume()

    def client_settings(self, user: str = "admin") -> KafkaSettings:
        """Return the settings of a client: of this user if the cluster is secured (``admin``, ``app``)."""
        return KafkaSettings(bootstrap=self.bootstrap) if self._secured is None else self._secured.settings(user)

    def settings_file(self, user: str) -> Path | None:
        """Return the settings file of a user (``admin``, ``app``); None if the cluster is not secured."""
        return None if self._secured is None else self._secured.settings_file(user)

    @property
    def _secured(self) -> ScramTls | None:
        return None if self.security == "none" else ScramTls(self.data / "security")

    @property
    def _layout(self) -> ClusterLayout:
        return ClusterLayout(self.brokers, self.port)

    def _one(self, broker: int) -> Broker:
        if broker not in self.ids:
            raise BrokerError(f"no broker {broker} in {self.data}: it has {', '.join(map(str, self.ids))}")
        return Broker(broker, self.data / f"broker-{broker}", self._layout.ports(broker))

    def _all(self) -> list[Broker]:
        return [self._one(broker) for broker in self.ids]

    def _admin(self) -> AdminClient:
        # While brokers start, connections are refused as expected, and retrying soon is cheap.
        own = self.client_settings(BROKER)
        quiet = own.model_copy(update={"client": own.client | {"log_level": "0"}})
        return clients.admin(quiet, reconnect_backoff_max_ms=100)

    def _cluster_id(self) -> str:
        return str(_known(self.data)["cluster_id"])

    def _check_folder(self) -> None:
        """Refuse a folder with other contents: ``fresh`` must never erase them."""
        if (
            self.data.is_dir()
            and _read(self.data) is None
            and any(path.name not in {_STARTING, _USING} for path in self.data.iterdir())
        ):
            raise StartupError(f"{self.data} is not empty and holds no local Kafka; give another folder with --data")

    def _agreed(self) -> dict[str, Any]:
        """Return the content of cluster.json. Raises StartupError for values that cannot be changed now."""
        wanted = {
            "brokers": self.brokers,
            "port": self.port,
            "heap_mb": self.heap_mb,
            "settings": dict(self.settings),
            "security": self.security,
            "version": self.version,
        }
        known = _read(self.data)
        if known is None:
            return wanted | {"cluster_id": new_cluster_id(uuid.uuid4())}
        if known["brokers"] != self.brokers:
            raise StartupError(
                f"{self.data} holds a cluster of {known['brokers']}, not {self.brokers}: add --fresh to "
                "erase it and begin anew, or give another folder with --data"
            )
        if numbers(known["version"]) > numbers(self.version):
            raise StartupError(
                f"{self.data} holds data of Apache Kafka {known['version']}, which {self.version} may not read: add "
                f"--fresh to erase it and begin anew, give another folder with --data, or a newer {VARIABLE}"
            )
        changed = [name for name, value in wanted.items() if known[name] != value]
        if changed and any(broker.process for broker in self._all()):
            raise StartupError(
                f"the cluster in {self.data} runs with another {' and '.join(changed)} "
                f"({', '.join(str(known[name]) for name in changed)}): stop it first (surgetank kafka down)"
            )
        return wanted | {"cluster_id": known["cluster_id"]}

    def _keep(self, known: dict[str, Any], kafka: jars.Kafka) -> None:
        (self.data / "cluster.json").write_text(json.dumps(known, indent=2) + "\n")
        if self._secured is not None:
            self._secured.make(kafka.java)
            self._secured.write_settings(self.bootstrap)
        for broker in self._all():
            broker.write(render(self._properties(broker.id)))

    def _properties(self, broker: int) -> dict[str, str]:
        """Return all properties of one broker."""
        secured = {} if self._secured is None else self._secured.properties(self._layout, broker)
        return properties(self._layout, broker, self.settings) | secured

    def _erase(self) -> None:
        known = _read(self.data)
        if known is not None:
            old = LocalCluster(self.data, known["brokers"])
            old._stop(old._all(), deadline=5.0)
            for broker in old._all():
                shutil.rmtree(broker.folder, ignore_errors=True)
            ScramTls(self.data / "security").remove()
            (self.data / "cluster.json").unlink()

    def _format(self, kafka: jars.Kafka, brokers: Sequence[Broker]) -> None:
        cluster_id = self._cluster_id()
        started = [(broker, broker.format(kafka, cluster_id)) for broker in brokers]
        for broker, process in started:
            output = process.communicate()[0] if process else ""
            if process and process.returncode != 0:
                lines = jars.last_lines(output, 8)
                raise BrokerError(f"the data folder of broker {broker.id} cannot be formatted:\n{lines}")

    def _stop(self, brokers: Sequence[Broker], deadline: float) -> tuple[int, ...]:
        killed = tuple(broker.id for broker in stop_all(brokers, deadline))
        if killed:
            log.warning("broker %s did not stop within %.0f s and was killed", ", ".join(map(str, killed)), deadline)
        return killed

    def _until(self, obstacle: Callable[[AdminClient], str | None], timeout: float, what: str) -> None:
        admin = self._admin()
        end = self.clock.monotonic() + timeout
        while reason := obstacle(admin):
            if self.clock.monotonic() > end:
                logs = ", ".join(str(broker.log) for broker in self._all())
                raise BrokerError(
                    f"the local Kafka at {self.bootstrap} is not {what} after {timeout:.0f} s: {reason}; see {logs}"
                )
            time.sleep(_POLL_SECONDS)

    def _status(self, broker: Broker) -> BrokerStatus:
        down = BrokerStatus(broker.id, "down", *broker.ports, self.heap_mb, str(broker.log))
        process = broker.process
        if process is None:
            return down
        try:
            running = {
                "state": "paused" if process.status() == psutil.STATUS_STOPPED else "running",
                "pid": process.pid,
                "uptime_seconds": round(self.clock.now() - process.create_time(), 1),
                "resident_mb": round(process.memory_info().rss / 2**20, 1),
            }
        except psutil.NoSuchProcess:
            return down
        return BrokerStatus(**(asdict(down) | running))

    def used_alone(self) -> AbstractContextManager[None]:
        """Let no other process use the folder in this way meanwhile. Raises StartupError at once if one does."""

        def refuse(holder: str) -> None:
            raise StartupError(
                f"{self.data} is in use by {holder}, which runs a Kafka there: wait for its end, or run this command "
                "in another folder"
            )

        return folder_lock(self.data, _USING, refuse)

    def _locked(self) -> AbstractContextManager[None]:
        """Allow one process at a time to start or stop the brokers of this folder."""
        waiting = "%s starts or stops the Kafka in %s; waiting"
        return folder_lock(self.data, _STARTING, lambda holder: log.warning(waiting, holder, self.data))


@contextmanager
def temporary_cluster(data: Path, brokers: int, *, short_lived: bool = False) -> Iterator[LocalCluster]:
    """Start a cluster without data on free ports, and stop it at the end.

    Raises the errors of ``up``, and StartupError if another process has a temporary cluster in the folder.
    """
    cluster = LocalCluster(data, brokers, free_ports(2 * brokers), short_lived=short_lived)
    with cluster.used_alone():
        try:
            cluster.up(fresh=True)
            yield cluster
        finally:
            cluster.down()


def security_of(chosen: str | None, data: Path) -> Security:
    """Return the chosen security, by default that of the cluster in this folder. Raises StartupError for another."""
    name = chosen or (_read(data) or _ABSENT)["security"]
    for each in get_args(Security):
        if each == name:
            return each  # type: ignore[no-any-return]
    raise StartupError(f"--security {name}: it is {' or '.join(get_args(Security))}")


def version_of(data: Path) -> str:
    """Return the version that the environment names, else of this folder, else the default. Raises StartupError."""
    return chosen_version() or (_read(data) or {"version": DEFAULT})["version"]


def _read(data: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] = json.loads((data / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StartupError(f"{data}/cluster.json cannot be read ({error}); remove the folder {data}") from None
    return _ABSENT | known


def _known(data: Path) -> dict[str, Any]:
    known = _read(data)
    if known is None:
        raise BrokerError(f"no local Kafka in {data}; `surgetank kafka up --data {data}` starts one")
    return known
