"""A project of one's own, with the engine from a wheel: made, run, tested, and edited while it runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.retry import wait_until
from tests.support.kafka_under_test import KafkaUnderTest, discard

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0


class Environment:
    """An environment of Python in which the engine is installed from a wheel, and what it needs is at hand."""

    def __init__(self, folder: Path) -> None:
        self.wheel = self._built(folder)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.bin = folder / "venv" / "bin"
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self._pip("--python", str(self.bin / "python"), "install", "--no-deps", str(self.wheel))
        for path in (ROOT / "pipeline").rglob("*.nb[ci]"):  # code that is compiled already
            target = packages / path.relative_to(ROOT / "pipeline")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        kept = {name: value for name, value in os.environ.items() if not re.match("SURGETANK_|PYTHON|COLUMNS", name)}
        search = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        self.variables = kept | {"PATH": search, "COLUMNS": "80"}  # as a terminal; in a pipe, lines are not wrapped

    def run(self, folder: Path, *command: str) -> str:
        """Run a command in a folder; fail unless it ends with 0; return what it prints."""
        ended = subprocess.run(
            command, cwd=folder, env=self.variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def _built(self, folder: Path) -> Path:
        """Build the wheel from a copy: nothing is written into the repository, and no old build gets into it."""
        source = folder / "source"
        for name in ("pipeline", "ops"):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        self._pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
        (wheel,) = folder.glob("*.whl")
        return wheel

    def _pip(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, for the tests of this file."""
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def name() -> str:
    """The name of a project, whose topics no other test uses."""
    return f"risk-{uuid.uuid4().hex[:8]}"


def test_a_new_user_has_first_scores_from_a_wheel(
    environment: Environment, kafka: KafkaUnderTest, name: str, tmp_path: Path
) -> None:
    """In an empty folder: new, dev, and the project's own tests; the engine comes from the wheel, its schemas too."""
    environment.run(tmp_path, "surgetank", "new", name)
    project = tmp_path / name
    assert (project / ".gitignore").is_file()  # hidden files are in the wheel too
    shown = environment.run(project, "surgetank", "dev", "--once", "--bootstrap", kafka.settings.bootstrap)
    assert f"using the Kafka at {kafka.settings.bootstrap}" in shown
    scores = re.findall(r"^payment-\d{5}\S* +card-\d{3} +[01]\.\d{3} ", shown, re.MULTILINE)
    assert len(scores) == 10, shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert not (project / ".surgetank" / "kafka").exists()  # --bootstrap needs no Java

    assert "5 passed" in environment.run(project, "python", "-m", "pytest", "-q")
    assert "schemas: features, payment, score" in environment.run(project, "surgetank", "schemas", "check")
    environment.run(project, "surgetank", "monitoring")
    rules = (project / "ops" / "prometheus" / "rules" / "surgetank.yml").read_text()
    assert all((project / path).is_file() for path in re.findall(r"runbook_url: (\S+)", rules))
    imported = environment.run(project, "python", "-c", "import surgetank; print(surgetank.__file__)")
    assert Path(imported.strip()).is_relative_to(environment.bin.parent)


def test_the_wheel_brings_one_name(environment: Environment) -> None:
    """No `topology`, `schemas` or `ops` that would hide the user's."""
    with zipfile.ZipFile(environment.wheel) as wheel:
        tops = {path.split("/")[0] for path in wheel.namelist()}
    assert {top for top in tops if not re.fullmatch(r"surgetank-[\d.]+\.(dist-info|data)", top)} == {"surgetank"}


@pytest.fixture
def dev(
    environment: Environment, clusters: Path, name: str, tmp_path: Path
) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """`surgetank dev` with a Kafka of its own in a new project: the folder, and the process, whose output is a file."""
    project = tmp_path / name
    environment.run(tmp_path, "surgetank", "new", name)
    (clusters / name).mkdir()  # where it is found if this session is killed
    (project / ".surgetank").mkdir()
    (project / ".surgetank" / "kafka").symlink_to(clusters / name)
    with (project / "shown").open("wb") as out:
        process = subprocess.Popen(
            ["surgetank", "dev"],
            cwd=project,
            env=environment.variables,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    yield project, process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
    discard(clusters / name)


def test_a_mistake_in_a_file_while_dev_runs(
    dev: tuple[Path, "subprocess.Popen[bytes]"],
) -> None:
    """The worker starts again once it is mended. Events go on where they ended; Ctrl-C ends worker and Kafka."""
    project, process = dev
    topology = next(path for path in (project / "topology").glob("*.py") if path.name != "__init__.py")
    good = topology.read_text()

    def shown() -> str:
        return (project / "shown").read_text()

    def wait_for(text: str, times: int = 1) -> None:
        assert wait_until(lambda: shown().count(text) >= times or process.poll() is not None, SECONDS, 0.1)
        assert shown().count(text) >= times, shown()

    wait_for("payment-00005")
    topology.write_text(good.replace('Field("amount")', 'Field("amont")'))
    wait_for("waiting for a change of a file")
    assert "was trained with 'amount', which the pipeline does not declare" in shown()
    topology.write_text(good)
    wait_for("ready after", 2)
    sent = max(map(int, re.findall(r"payment-(\d{5})", shown())))
    wait_for(f"payment-{sent + 5:05d}")
    assert shown().count("payment-00005") == 1

    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2  # the command that is restarted, and its worker
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0
    assert [each for each in children if each.is_running()] == []
    assert {broker.state for broker in LocalCluster.found(project / ".surgetank" / "kafka").status()} == {"down"}
