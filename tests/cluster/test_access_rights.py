"""A worker and the tools with exactly the rights that ``surgetank topics acls`` lists, and with one of them missing."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AclBinding
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.doctor.checkup import kafka_findings
from surgetank.doctor.finding import CheckSeverity
from surgetank.drills.fleet import Fleet, Member
from surgetank.errors import SurgetankError
from surgetank.kafka.access_rights import TOOLS, Operation, Resource, bindings, grant, rights
from surgetank.settings import load
from tests.support.endpoint_certificates import AUTHORITY, tls
from tests.support.secured_kafka import SecuredKafka
from tests.support.stateful_pipeline import Remembered

EVENTS = 200
TOKEN = "token-of-the-endpoints"
KEY = "N14228"  # of the first event


class Secured:
    """A pipeline whose topics the administrator made, and a user for each tool with the rights of that tool.

    Its workers serve TLS and demand a token and a certificate, which the settings of each tool have.
    """

    def __init__(self, brokers: SecuredKafka, folder: Path) -> None:
        self.brokers = brokers
        self.folder = folder
        (folder / "token").write_text(TOKEN)
        http = tls(client_ca_file=AUTHORITY, token_file=folder / "token")
        given = [f'{name} = "{path}"' for name, path in http.model_dump(exclude_none=True).items()]
        self.stage = Remembered(brokers.admin, folder)
        self.stage.apply_topics()
        for tool in TOOLS:
            settings = brokers.user(self.user(tool), f"password of {tool}")
            grant(brokers.admin, f"User:{self.user(tool)}", rights(self.stage.pipeline, tool))
            options = [f'"{name}" = {json.dumps(value)}' for name, value in settings.client_options().items()]
            lines = ["[kafka]", f'bootstrap = "{settings.bootstrap}"', "[kafka.client]", *options, "[http]", *given]
            self.config(tool).write_text("\n".join(lines))
        self.stage.fleet = Fleet(
            self.stage.topology,
            bootstrap=brokers.admin.bootstrap,
            folder=folder,
            settings={"model.directory": self.stage.models},
            options=["--config", str(self.config("worker"))],
            http=http,
        )

    def user(self, tool: str) -> str:
        """Return the name of a tool's user."""
        return f"{self.stage.prefix}-{tool}"

    def config(self, tool: str) -> Path:
        """Return the settings file of a tool's user."""
        return self.folder / f"{tool}.toml"

    def rule(self, tool: str, resource: Resource, name: str, operation: Operation) -> AclBinding:
        """Return one of the rules of a tool."""
        (found,) = (
            right
            for right in rights(self.stage.pipeline, tool)
            if (right.resource, right.name) == (resource, name) and operation in right.operations
        )
        (rule,) = bindings(f"User:{self.user(tool)}", [found._replace(operations=(operation,))])
        return rule

    @contextmanager
    def without(self, rule: AclBinding) -> Iterator[None]:
        """Revoke a rule for a while."""
        self.brokers.revoke([rule])
        yield
        self.brokers.grant([rule])

    def run(self, tool: str, *command: str) -> tuple[int, str]:
        """Run a command as the user of a tool; return its exit status, and its output or its error."""
        result = CliRunner().invoke(app, [*command, "--config", str(self.config(tool))])
        code = result.exception.exit_code if isinstance(result.exception, SurgetankError) else result.exit_code
        return code, f"{result.output}{result.exception or ''}"


@pytest.fixture(scope="module")
def live(brokers: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a pipeline on the secured broker for all tests; the one with a bad event is after those without."""
    made = Secured(brokers, tmp_path_factory.mktemp("live"))
    with made.stage:
        yield made


@pytest.fixture
def worker(live: Secured) -> Member:
    """Return a worker that is ready: the one of the test before, if it runs."""
    for running in live.stage.fleet.running:
        live.stage.fleet.wait_ready(running)
        return running
    return live.stage.worker()


def test_a_right_is_revoked_while_the_worker_runs(live: Secured, worker: Member) -> None:
    """It is not ready, and its log names what is refused; when the right is back, so is the worker: exactly once."""
    stage, pipeline = live.stage, live.stage.pipeline
    for resource, name, operation, says in (
        (Resource.TOPIC, pipeline.events.topic, Operation.READ, "Topic authorization failed"),
        (Resource.TOPIC, pipeline.scores.topic, Operation.WRITE, "Topic authorization failed"),
        (Resource.TRANSACTIONAL_ID, f"{pipeline.name}-", Operation.WRITE, "Transactional Id authorization failed"),
        (Resource.GROUP, pipeline.group, Operation.READ, f"the right Read of group {pipeline.group} is missing"),
    ):
        before = len(worker.log.read_text(errors="replace"))
        with live.without(live.rule("worker", resource, name, operation)):
            stage.send(EVENTS)
            stage.until(lambda: not worker.ready, 30, f"not ready without {operation} of {name}")
        assert says in worker.log.read_text(errors="replace")[before:], stage.logs()
        stage.until(lambda: worker.ready, 60, f"ready again with {operation} of {name}")
    assert worker.running
    found = stage.audit()
    assert found.ok, (found, stage.logs())
    assert found.scores == found.events > 0


def test_the_password_of_the_user_changes_while_the_worker_runs(live: Secured, worker: Member) -> None:
    """Nothing changes until it has to connect anew, here to a restarted broker; then it waits for the password."""
    stage, cluster = live.stage, live.brokers.cluster
    live.brokers.user(live.user("worker"), "another")
    cluster.stop(1)
    cluster.start(1)
    cluster.wait(60)
    stage.send(EVENTS)
    stage.until(lambda: not worker.ready, 60, "not ready with a wrong password")
    said = worker.log.read_text(errors="replace")
    assert "correct sasl.username and sasl.password below kafka.client; this worker waits" in said, stage.logs()
    assert "password of worker" not in said
    live.brokers.user(live.user("worker"), "password of worker")
    stage.until(lambda: worker.ready, 60, "ready again")
    assert worker.running
    found = stage.audit()
    assert found.ok, (found, stage.logs())
    assert found.scores == found.events > 0


@pytest.mark.usefixtures("worker")
def test_a_tool_lacks_a_right(live: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """With exactly the listed rights the worker scores and each tool works; without one a tool names what it lacks.

    The doctor says the same of a worker's rights.
    """
    monkeypatch.setattr("surgetank.cli.pipeline_argument.resolve", lambda _: live.stage.pipeline)
    stage = live.stage
    stage.send(EVENTS)
    stage.put([b"not an event"])
    stage.until(lambda: stage.lag() == 0, 60, "all events are scored")
    for tool, *command in (
        ("topics", "topics", "check", "any"),
        ("topics", "topics", "apply", "any", "--no-declaration"),
        ("scores", "scores", "any", "--count", "5", "--json"),
        ("lag", "lag", "any", "--json"),
        ("lag-exporter", "lag-exporter", "--once", "--json"),
        ("audit", "audit", "any", "--json"),
        ("timeline", "timeline", "any"),
        ("models", "models", "deploy", "any", "1", "--no-check"),
        ("models-status", "models", "status", "any", "--json"),
        ("dead-letters", "dead-letters", "stats", "any"),
        ("dead-letters-replay", "dead-letters", "replay", "any", "--send"),
        ("state", "state", "restoring", "any", "--json"),
        ("state", "state", "size", "any"),
        ("state", "state", "inspect", "any", KEY),
    ):
        code, said = live.run(tool, *command)
        assert code == 0, (command, said)
        if "restoring" in command:  # the worker answered it
            assert '"address": "https://127.0.0.1' in said
        if "inspect" in command:
            assert KEY in said
    pipeline = stage.pipeline
    for tool, resource, name, operation, says, *command in (
        (
            "scores",
            Resource.TOPIC,
            pipeline.scores.topic,
            Operation.READ,
            "grant it Describe and Read",
            "scores",
            "any",
        ),
        (
            "lag",
            Resource.GROUP,
            pipeline.group,
            Operation.DESCRIBE,
            "grant this user Describe on the group",
            "lag",
            "x",
        ),
        ("audit", Resource.GROUP, pipeline.group, Operation.DESCRIBE, "Describe on the group", "audit", "any"),
    ):
        with live.without(live.rule(tool, resource, name, operation)):
            code, said = live.run(tool, *command)
            assert (code, says in said) == (2, True), (command, said)
    assert live.run("audit", "audit", "any")[0] == 0
    worker = load(file=live.config("worker"))
    scores = live.rule("worker", Resource.TOPIC, pipeline.scores.topic, Operation.DESCRIBE_CONFIGS)
    (all_rights,) = (each for each in kafka_findings(worker, pipeline) if each.check == "rights")
    assert all_rights.severity is CheckSeverity.OK, all_rights
    with live.without(scores):
        (one_less,) = (each for each in kafka_findings(worker, pipeline) if each.check == "rights")
    assert one_less.severity is CheckSeverity.PROBLEM
    assert one_less.found == f"this user lacks DescribeConfigs on topic {pipeline.scores.topic}"


def test_sigusr1_or_sigusr2_for_a_worker(live: Secured, worker: Member) -> None:
    """Password and token are not in the log, events are scored after the signals, and a stop is a stop."""
    stage = live.stage
    stops = [(worker, signal.SIGTERM), (stage.worker(), signal.SIGINT)]
    before = [worker.log.stat().st_size for worker, _ in stops]

    for worker, _ in stops:
        worker.process.send_signal(signal.SIGUSR1)
        worker.process.send_signal(signal.SIGUSR2)
    stage.send(EVENTS)

    stage.until(lambda: stage.lag() == 0, 60, "all events are scored")
    assert stage.scores() > 0
    for (worker, stop), start in zip(stops, before, strict=True):
        worker.process.send_signal(stop)
        assert worker.process.wait(30) == 0
        said = worker.log.read_bytes()
        for secret in ("password of worker", TOKEN):
            assert secret not in said.decode()
        for word in (b"Signal", b"Stack", b"asyncio", b"debugger", b"Traceback", b"0x"):
            assert word not in said[start:]
