"""The Java and the Apache Kafka jars for local brokers; Maven downloads the jars once into a cache."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from surgetank.errors import StartupError

POM = Path(__file__).with_name("pom.xml")
LOGGING = Path(__file__).with_name("log4j2.properties")
JAVA_MINIMUM = 17
_DOCKER = "or start Kafka with Docker: docker compose up --wait"
_SET_CACHE = "set SURGETANK_CACHE to a folder that can be written"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java executable of a sufficient version, and its full version."""

    path: str
    version: str


@dataclass(frozen=True, slots=True)
class Kafka:
    """Java and the jars, which run Kafka's main classes."""

    java: Java
    jars: Path

    @property
    def _archive(self) -> Path:
        return self.jars / f"classes-{self.java.version}.jsa"

    def command(self, main: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs a main class with arguments and JVM flags."""
        shared = (f"-XX:SharedArchiveFile={self._archive}",) if self._archive.exists() else ()
        logging_ = f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"
        return [self.java.path, *shared, *flags, logging_, "-cp", f"{self.jars}/*", main, *arguments]

    def share_classes(self) -> None:
        """Write an archive of Kafka's parsed classes, so that every later JVM starts a third faster.

        Optional: if the JVM cannot do it, everything works without.
        """
        if self._archive.exists():
            return
        try:
            scratch = tempfile.TemporaryDirectory(dir=self.jars.parent)
        except OSError:
            return
        with scratch as folder:
            made = Path(folder) / self._archive.name
            flags = (f"-XX:ArchiveClassesAtExit={made}", "-Xlog:disable")
            sample = Path(folder) / "sample.properties"
            sample.write_text(_SAMPLE)
            arguments = ("format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config", str(sample))
            command = self.command("kafka.tools.StorageTool", *arguments, flags=flags)
            subprocess.run(command, cwd=folder, capture_output=True, check=False)
            if made.exists():
                made.replace(self._archive)


_SAMPLE = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:9093
log.dirs=data
"""


def ready() -> Kafka:
    """Find Java and download the jars missing from the cache. Raises StartupError that says what to install."""
    kafka = Kafka(find_java(), fetch())
    kafka.share_classes()
    return kafka


def version() -> str:
    """Return the pinned version of Apache Kafka."""
    found = ElementTree.parse(POM).findtext("{*}properties/{*}kafka.version")
    if found is None:
        raise StartupError(f"{POM} has no property kafka.version; install the package again")
    return found


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: SURGETANK_CACHE, or surgetank in XDG_CACHE_HOME, or ~/.cache/surgetank.

    Raises StartupError if the user has no home folder.
    """
    own = environment.get("SURGETANK_CACHE")
    try:
        return Path(own or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/surgetank").expanduser().absolute()
    except RuntimeError:
        raise StartupError(f"this user has no home folder for Apache Kafka's jars: {_SET_CACHE}") from None


def find_java(environment: Mapping[str, str] = os.environ) -> Java:
    """Return the Java of JAVA_HOME, else of PATH. Raises StartupError if there is none or it is too old."""
    home = environment.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin" if home else environment.get("PATH"))
    where = f"in JAVA_HOME ({home})" if home else "on PATH"
    if path is None:
        raise StartupError(f"no java {where}: install a JDK {JAVA_MINIMUM} or later, {_DOCKER}")
    result = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "((\d+)[^"]*)"', result.stderr)
    if match is None:
        raise StartupError(f"{path} -version did not name a version but: {result.stderr.strip()[:200]!r}; {_DOCKER}")
    if int(match[2]) < JAVA_MINIMUM:
        raise StartupError(
            f"{path} is Java {match[1]}; Kafka {version()} needs {JAVA_MINIMUM} or later: install one "
            f"and point JAVA_HOME at it, {_DOCKER}"
        )
    return Java(path, match[1])


def fetch(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the complete folder of jars; download it first if it is missing.

    Processes may race: each downloads into a separate folder, and the first one to rename it wins. Raises StartupError
    if Maven is missing or fails.
    """
    # The folder's name changes with the pom, so that a changed pin never uses old jars.
    pom = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    home = cache(environment) / f"kafka-{version()}-{pom}"
    if home.is_dir():
        return home
    maven = shutil.which("mvn", path=environment.get("PATH"))
    if maven is None:
        raise StartupError(f"no mvn on PATH, which fetches Apache Kafka once: install Apache Maven, {_DOCKER}")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=home.parent, prefix="fetching-")
    except OSError as error:
        raise StartupError(f"{home.parent} cannot hold Apache Kafka's jars: {error.strerror}; {_SET_CACHE}") from None
    log.info("fetching Apache Kafka %s into %s (once)", version(), home)
    with scratch as folder:
        fetched = Path(folder) / "jars"
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}")
        command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *goal]
        run = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
        if run.returncode != 0 or not any(fetched.glob("kafka_*.jar")):
            raise StartupError(
                f"Maven could not fetch Apache Kafka {version()} (exit {run.returncode}). Its last lines:\n"
                f"{last_lines(run.stdout + run.stderr, 8)}\nMend the network or Maven's settings, {_DOCKER}"
            )
        try:
            fetched.rename(home)
        except OSError:
            if not home.is_dir():  # the reason is not that another process was first
                raise
    return home


def last_lines(output: str, count: int) -> str:
    """Return the last lines of a Java program's output, indented, without the frames of stack traces."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("\tat ")]
    return "\n".join(f"  {line.strip()}" for line in lines[-count:])
