"""The versions of Apache Kafka that local brokers can have: those with a lock file of their jars beside this file."""

import os
from collections.abc import Mapping
from pathlib import Path

from surgetank.errors import StartupError

VARIABLE = "SURGETANK_KAFKA_VERSION"
DEFAULT = "4.4.0"
_FOLDER = Path(__file__).parent
# Brokers of an older version ask the Java security manager who logs in by SASL; Java 24 has none (KAFKA-17078).
_WITHOUT_SECURITY_MANAGER = (3, 9, 1)
_LAST_SECURITY_MANAGER = 23


def supported() -> tuple[str, ...]:
    """Return the versions, oldest first."""
    names = (lock.name.removeprefix("kafka-").removesuffix(".lock") for lock in _FOLDER.glob("kafka-*.lock"))
    return tuple(sorted(names, key=numbers))


def chosen_version(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the version that SURGETANK_KAFKA_VERSION names, None if it is not set.

    It is a version, as 3.9.2, or its beginning, as 3.9, for the newest of these. Raises StartupError if there is none.
    """
    wanted = environment.get(VARIABLE)
    if not wanted:
        return None
    fitting = [version for version in supported() if f"{version}.".startswith(f"{wanted}.")]
    if not fitting:
        raise StartupError(f"{VARIABLE}={wanted}: a local Kafka has version {', '.join(supported())}")
    return fitting[-1]


def preferred_version() -> str:
    """Return the version of a new cluster: the chosen one, else the default. Raises StartupError as the choice."""
    return chosen_version() or DEFAULT


def lock_file(version: str) -> Path:
    """Return the lock file of the jars of a version. Raises StartupError if there is none."""
    lock = _FOLDER / f"kafka-{version}.lock"
    if not lock.exists():
        raise StartupError(f"there are no jars for Apache Kafka {version}: a local Kafka has {', '.join(supported())}")
    return lock


def newest_java(version: str) -> int | None:
    """Return the newest major version of Java that brokers of this version run on; None: each."""
    return _LAST_SECURITY_MANAGER if numbers(version) < _WITHOUT_SECURITY_MANAGER else None


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which compare as versions do."""
    return tuple(map(int, version.split(".")))
