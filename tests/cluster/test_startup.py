"""What a worker says when it cannot start: one clear error, exit status 2, no traceback. And how it does start."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from surgetank.kafka import clients, provisioning
from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.settings import KafkaSettings
from tests.support import misbehaving_models
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateless_flights import ENVIRONMENT, prefixed

StageFactory = Callable[..., Stage]

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "topology" / "models"
MODULE = "tests.support.topologies.stateless_flights"
WIDTH = 8


@dataclass(frozen=True)
class Ended:
    """How a process ended, and all that it said."""

    code: int
    said: str


@dataclass(frozen=True)
class Start:
    """One way to start a worker that cannot run, and what the error must name."""

    names: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    module: str = MODULE
    folder: Path = ROOT
    prefix: str = ""  # default: that of the topics that are there


def run(command: list[str], environment: dict[str, str], folder: Path) -> Ended:
    """Run a command to its end."""
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=90,
        check=False,
        text=True,
    )
    return Ended(ended.returncode, ended.stdout)


def assert_one_clear_error(ended: Ended, names: tuple[str, ...]) -> None:
    """Exit status 2; one message, without a traceback, that names all of it.

    Before it only that the worker starts, unless the settings are wrong, and that Kafka is asked.
    """
    assert ended.code == 2, ended.said
    assert "Traceback" not in ended.said, ended.said
    before, message, said = ended.said.partition("surgetank: ")
    first, *later = before.splitlines() or [""]
    assert not first or "starting a worker of" in first, ended.said
    assert all("Kafka does not answer yet" in line for line in later), ended.said
    assert message, ended.said
    assert "surgetank: " not in said, ended.said
    assert len(ended.said.splitlines()) <= 8, ended.said
    missing = [name for name in names if name not in ended.said]
    assert not missing, f"{missing} not in:\n{ended.said}"


@pytest.fixture(scope="module")
def prefix(kafka: KafkaUnderTest) -> str:
    """Return the prefix of a pipeline whose topics are there."""
    made = f"t{uuid.uuid4().hex[:10]}"
    provisioning.apply(kafka.settings, prefixed(made))
    return made


@pytest.fixture(scope="module")
def starts(kafka: KafkaUnderTest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Start]:
    """Return every way to start wrongly."""
    folder = tmp_path_factory.mktemp("startup")
    return {
        **_kafka(kafka),
        **_models(folder / "models"),
        **_settings(folder),
        **_schemas(folder),
        **_topologies(folder),
    }


@pytest.fixture(scope="module")
def endings(kafka: KafkaUnderTest, starts: dict[str, Start], prefix: str) -> Iterator[Callable[[str], Ended]]:
    """Return a function that gives how a start ended. All of them run at once, two at a time."""

    def ended(start: Start) -> Ended:
        environment = {
            ENVIRONMENT: start.prefix or prefix,
            "SURGETANK_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "SURGETANK_MODEL__DIRECTORY": str(MODELS),
        }
        command = ["surgetank.cli", "worker", start.module, *start.arguments]
        return run(command, environment | start.environment, start.folder)

    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(ended, start) for name, start in starts.items()}
        yield lambda name: running[name].result()


CASES = [
    "no broker",
    "missing topics",
    "too few partitions for scores",
    "dead letters that could not be written",
    "no topic of features",
    "missing model directory",
    "missing model",
    "missing version",
    "too narrow a model",
    "too wide a model",
    "model of text",
    "model of other features",
    "damaged model file",
    "model file that is no model",
    "unknown setting in a flag",
    "unknown setting in the environment",
    "unknown section in the environment",
    "unknown setting in the file",
    "setting out of range",
    "flag without a value",
    "malformed schema",
    "schema without an id",
    "unknown schema",
    "unknown field",
    "two pipelines",
    "no pipeline",
    "unknown pipeline",
    "file name for a pipeline",
    "relative name for a pipeline",
]


@pytest.mark.parametrize("case", CASES)
def test_a_worker_that_cannot_start_says_why(
    starts: dict[str, Start], endings: Callable[[str], Ended], case: str
) -> None:
    """One message that names what is wrong, where, and what to do; exit status 2; no traceback."""
    assert_one_clear_error(endings(case), starts[case].names)


def test_every_way_to_start_wrongly_is_looked_at(starts: dict[str, Start]) -> None:
    """The list of cases, which names the tests, is whole."""
    assert sorted(starts) == sorted(CASES)


def test_faust_says_the_same(kafka: KafkaUnderTest, prefix: str) -> None:
    """Started by ``faust worker`` too: one clear error, exit status 2, no traceback."""
    environment = {
        ENVIRONMENT: prefix,
        "SURGETANK_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "SURGETANK_MODEL__DIRECTORY": str(MODELS),
        "SURGETANK_MODEL__VERSION": "99",
    }

    ended = run(["faust", "-A", f"{MODULE}:app", "worker", "--without-web", "-l", "error"], environment, ROOT)

    assert ended.code == 2, ended.said
    assert "Traceback" not in ended.said
    errors = [line for line in ended.said.splitlines() if line.startswith("surgetank: ")]
    assert len(errors) == 1, ended.said
    assert "no version '99'" in errors[0]


def test_faust_runs_a_worker(stage: StageFactory, tmp_path: Path) -> None:
    """``faust -A ... worker`` scores events exactly once like our own command, and ends well on SIGTERM."""
    under = stage()
    under.send(20_000)
    log = tmp_path / "faust.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", f"{MODULE}:app", "worker", "-l", "info"],
            env=os.environ
            | {
                ENVIRONMENT: under.prefix,
                "SURGETANK_KAFKA__BOOTSTRAP": under.kafka.bootstrap,
                "SURGETANK_MODEL__DIRECTORY": str(MODELS),
            },
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        found = under.audit(wait=60)
        assert found.ok, (found, log.read_text()[-4000:])
        assert found.scores == 20_000
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, log.read_text()[-4000:]
    finally:
        worker.kill()
        worker.wait()
    said = log.read_text()
    assert "Traceback" not in said, said[-4000:]
    assert said.count("assigned partitions") == 1, "each line is told once"
    assert under.lag() == 0


def test_a_worker_that_starts_while_kafka_is_away_waits_for_it(
    local_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """It asks for some seconds before it gives up, and says so; when the broker is back, it works."""
    cluster = local_cluster()
    cluster.up(timeout=120)
    with Stage(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path) as under:
        under.apply_topics()
        under.send(1_000)
        cluster.pause(cluster.ids[0])

        worker = under.worker(ready=False)

        under.until(lambda: "Kafka does not answer yet" in worker.log.read_text(), 60, "it asked in vain")
        cluster.resume(cluster.ids[0])
        under.fleet.wait_ready(worker)
        found = under.audit()
        assert found.ok, (found, under.logs())
        assert found.scores == 1_000


def test_of_two_workers_of_one_name_one_ends(stage: StageFactory) -> None:
    """The older one, while nothing happens: exit code 5, one clear line; nothing is lost or doubled."""
    under = stage(**{"worker.name": "twin"})
    under.send(20_000)
    older = under.worker()
    assert under.audit().ok

    newer = under.worker()
    under.send(20_000)

    assert older.process.wait(60) == 5, under.logs()
    log = older.log.read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert len(errors) == 1, log
    assert "another live worker is named" in errors[0]
    assert "worker.name" in errors[0]
    assert "Traceback" not in log
    found = under.audit()
    assert found.ok, (found, under.logs())
    assert found.scores == 40_000
    assert newer.running


def test_of_two_workers_of_one_name_one_ends_under_load(stage: StageFactory) -> None:
    """One of them, whichever sees the other first, with exit code 5; the other scores all of it once."""
    under = stage(**{"worker.name": "twin"})
    twins = [under.worker()]
    replay = under.sending(10**6, 4_000)  # until one has ended: an idle worker is not fenced
    under.until(lambda: under.scores() > 4_000, 30, "events flow")

    twins.append(under.worker(ready=False))

    under.until(lambda: any(not twin.running for twin in twins), 60, "one of them ends")
    replay.stop()
    found = under.audit()
    assert found.ok, (found, under.logs())
    assert found.scores == found.events > 4_000
    assert sorted(twin.process.poll() is None for twin in twins) == [False, True], under.logs()
    assert {twin.process.poll() for twin in twins} == {None, 5}, under.logs()


def _kafka(kafka: KafkaUnderTest) -> dict[str, Start]:
    nowhere = f"127.0.0.1:{free_ports(1)}"
    absent = f"t{uuid.uuid4().hex[:10]}"
    narrow = prefixed(f"t{uuid.uuid4().hex[:10]}")
    wanted = {spec.name: spec.partitions for spec in provisioning.needed(narrow)} | {narrow.scores.topic: 2}
    shallow = prefixed(f"t{uuid.uuid4().hex[:10]}")
    wanted |= {spec.name: spec.partitions for spec in provisioning.needed(shallow)}  # none of them set in any way
    admin = clients.admin(kafka.settings)
    for future in admin.create_topics([NewTopic(name, count) for name, count in wanted.items()]).values():
        future.result(30)
    return {
        "no broker": Start((nowhere, "surgetank kafka up", "kafka.bootstrap"), ("--bootstrap", nowhere)),
        "missing topics": Start(
            (f"{absent}.boarding", f"{absent}.scores", f"{absent}.dead-letters", "surgetank topics apply"),
            prefix=absent,
        ),
        "too few partitions for scores": Start(
            (narrow.scores.topic, "has 2 partitions", narrow.events.topic, "has 4"), prefix=narrow.name
        ),
        "no topic of features": Start(
            (".features' (features) is missing", "--features"), ("--set", "features.record=true")
        ),
        "dead letters that could not be written": Start(
            (shallow.dead_letters, "1048588 bytes", shallow.events.topic, "max.message.bytes"), prefix=shallow.name
        ),
    }


def _models(folder: Path) -> dict[str, Start]:
    misbehaving_models.publish(folder / "narrow", "1", misbehaving_models.with_input(WIDTH - 1))
    misbehaving_models.publish(folder / "wide", "1", misbehaving_models.with_input(WIDTH + 1))
    misbehaving_models.publish(folder / "text", "1", misbehaving_models.of_text(WIDTH))
    misbehaving_models.publish(folder / "nonsense", "1", b"this is no model")
    damaged = misbehaving_models.publish(folder / "damaged", "1", misbehaving_models.good())
    content = bytearray(damaged.model.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.model.write_bytes(content)
    shutil.copytree(MODELS, folder / "other")
    manifest = folder / "other" / misbehaving_models.NAME / "1" / "manifest.json"
    other = json.loads(manifest.read_text())
    other["features"][3]["field"] = other["features"][3]["name"] = "altitude"
    from surgetank.features.spec import fingerprint

    other["fingerprint"] = fingerprint(other["features"])
    manifest.write_text(json.dumps(other))

    def directory(name: str) -> dict[str, str]:
        return {"SURGETANK_MODEL__DIRECTORY": str(folder / name)}

    return {
        "missing model directory": Start(
            (str(folder / "absent"), "does not exist", "model.directory"), environment=directory("absent")
        ),
        "missing model": Start(("'nosuch'", str(MODELS), "flights-late"), ("--set", "model.name=nosuch")),
        "missing version": Start(("flights-late", "'99'", "there is: 1"), ("--model-version", "99")),
        "too narrow a model": Start(
            ("7 columns", "8 features", "minutes_from_scheduled_departure_to_scheduled_arrival"),
            environment=directory("narrow"),
        ),
        "too wide a model": Start(("9 columns", "8 features", "column 8"), environment=directory("wide")),
        "model of text": Start(("'features'", "takes text", "Category"), environment=directory("text")),
        "model of other features": Start(("'altitude'", "does not declare"), environment=directory("other")),
        "damaged model file": Start((str(damaged.model), "checksum", "restore"), environment=directory("damaged")),
        "model file that is no model": Start(
            ("model.onnx", "cannot be read as ONNX"), environment=directory("nonsense")
        ),
    }


def _settings(folder: Path) -> dict[str, Start]:
    file = folder / "surgetank.toml"
    file.write_text('[worker]\nbatch_rows = 100\n\n[kafka]\nbootstrap = "127.0.0.1:1"\n')
    return {
        "unknown setting in a flag": Start(
            ("'worker.batch_rows'", "the command line", "batch_rows_max"), ("--set", "worker.batch_rows=100")
        ),
        "unknown setting in the environment": Start(
            ("'worker.batch_rows'", "the environment", "batch_rows_max"),
            environment={"SURGETANK_WORKER__BATCH_ROWS": "100"},
        ),
        "unknown section in the environment": Start(
            ("SURGETANK_BATCH", "SURGETANK_<SECTION>__<NAME>"), environment={"SURGETANK_BATCH": "100"}
        ),
        "unknown setting in the file": Start(
            ("'worker.batch_rows'", str(file), "batch_rows_max"), ("--config", str(file))
        ),
        "setting out of range": Start(
            ("worker.batch_rows_max", "0", "greater than or equal to 1"), ("--set", "worker.batch_rows_max=0")
        ),
        "flag without a value": Start(("worker.batch_rows_max", "NAME=VALUE"), ("--set", "worker.batch_rows_max")),
    }


def _schemas(folder: Path) -> dict[str, Start]:
    """A worker that is started in a folder with a package ``schemas`` of its own takes that one."""
    malformed, unlisted = folder / "malformed", folder / "unlisted"
    for place in (malformed, unlisted):
        shutil.copytree(ROOT / "schemas", place / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    boarding = malformed / "schemas" / "boarding.avsc"
    boarding.write_text(boarding.read_text().replace('"type": "int"', '"type": "integer"', 1))
    shutil.copy(unlisted / "schemas" / "boarding.avsc", unlisted / "schemas" / "landing.avsc")
    return {
        "malformed schema": Start((str(boarding), "is no Avro schema", "integer"), folder=malformed),
        "schema without an id": Start(("ids.json", "'landing'", '"version": 1'), folder=unlisted),
    }


def _topologies(folder: Path) -> dict[str, Start]:
    place = folder / "topologies"
    place.mkdir()
    head = (
        "from dataclasses import replace\n"
        "from tests.support.topologies.stateless_flights import pipeline as original\n"
        "events = original.events\n"
    )
    declared = {
        "wrong_schema": "pipeline = replace(original, events=replace(events, schema='landing'))",
        "wrong_field": "pipeline = replace(original, events=replace(events, time='landed_at'))",
        "two": "pipeline = replace(original, model='a')\nother = replace(original, model='b')",
        "none": "del original",
    }
    for name, text in declared.items():
        (place / f"{name}.py").write_text(head + text + ("\n" if name == "none" else "\ndel original\n"))
    package = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}

    def start(module: str, *names: str) -> Start:
        return Start(names, module=f"topologies.{module}", environment=package)

    return {
        "unknown schema": start("wrong_schema", "'landing'", "boarding"),
        "unknown field": start("wrong_field", "'landed_at'", "events.time", "boarding_at"),
        "two pipelines": start("two", "topologies.two", "2 Pipelines", "exactly one"),
        "no pipeline": start("none", "topologies.none", "no Pipeline", "exactly one"),
        "unknown pipeline": Start(("'nosuch'", "topology.nosuch", "known are: flights"), module="nosuch"),
        "file name for a pipeline": Start(("topology/flights.py", "known are: flights"), module="topology/flights.py"),
        "relative name for a pipeline": Start(("'.flights'", "known are: flights"), module=".flights"),
    }
