"""A real schema registry, Apicurio, from Maven's jars: for tests of what only a registry can show."""

import logging
import os
import re
import shutil
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
from tests.support.programs import needed

VERSION = "3.3.3"
JAVA_MINIMUM = 21
START_SECONDS = 90.0
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"

log = logging.getLogger(__name__)


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
    """Run a registry with its log in ``folder``. Skips the test if there is no Java for it."""
    registry = RealRegistry(_java(), _home(), folder)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def _java() -> str:
    """Return the first Java that is new enough: of JAVA_HOME, of PATH, of the folder in which Debian has them."""
    homes = [Path(home) / "bin/java" for home in [os.environ.get("JAVA_HOME")] if home]
    found = shutil.which("java")
    candidates = [*homes, *([Path(found)] if found else []), *sorted(Path("/usr/lib/jvm").glob("*/bin/java"))]
    for each in candidates:
        result = subprocess.run([each, "-version"], capture_output=True, text=True, check=False)
        match = re.search(r'version "(\d+)', result.stderr)
        if match and int(match[1]) >= JAVA_MINIMUM:
            return str(each)
    pytest.skip(
        f"Java {JAVA_MINIMUM} or later for a schema registry is missing: install Debian's package "
        "openjdk-21-jre-headless, or Temurin's temurin-25-jdk"
    )


def _home() -> Path:
    """Return the folder of the registry; download it with Maven first if it is missing."""
    home = cache() / f"apicurio-{VERSION}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="fetching-") as folder:
        goal = ("dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}")
        subprocess.run([needed("maven", "mvn"), "--batch-mode", "--quiet", *goal], check=True, cwd=folder)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(Path(folder) / "unpacked", filter="data")
        try:
            (Path(folder) / "unpacked").rename(home)
        except OSError:
            if not home.is_dir():  # another process was first
                raise
    return home
