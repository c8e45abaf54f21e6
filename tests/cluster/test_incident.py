"""From alerts to a post-mortem, on real Kafka: the webhook, following a timeline, the report."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from surgetank.clock import SystemClock
from surgetank.errors import StartupError
from surgetank.http.alertmanager_webhook import BODY_BYTES_MAX, AlertmanagerWebhook
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.topic_reader import TopicReader
from surgetank.settings import KafkaSettings
from surgetank.timeline.events import EventKind, TimelineEvent, decode
from surgetank.timeline.reader import read_history
from surgetank.timeline.writer import TimelineWriter
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]

TOPOLOGY = "tests.support.topologies.stateless_flights"


def post(url: str, body: bytes) -> int:
    """Post a notification; return the status of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def notification(*alerts: tuple[str, str]) -> bytes:
    """Return what Alertmanager posts of some alerts, each a name and a status."""
    posted = [
        {
            "status": status,
            "labels": {"alertname": name, "severity": "page"},
            "annotations": {"summary": f"{name} of the test"},
            "startsAt": "2026-01-05T12:00:00Z",
            "endsAt": "2026-01-05T12:05:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
            "fingerprint": name,
        }
        for name, status in alerts
    ]
    return json.dumps({"version": "4", "alerts": posted}).encode()


def told(under: Stage) -> list[TimelineEvent]:
    """Return the whole timeline."""
    return read_history(under.kafka, under.pipeline, 0, 2**60)


@contextmanager
def command(under: Stage, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command that goes on until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "surgetank.cli", *arguments, "--bootstrap", under.kafka.bootstrap],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {ENVIRONMENT: under.prefix},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_alerts_are_on_the_timeline_once_each(stage: StageFactory) -> None:
    """What is posted again is written once; what is resolved is an event of its own; SIGTERM ends the receiver well."""
    under = stage()
    with command(under, "timeline", "receive", TOPOLOGY, "--port", "0") as receiving:
        assert receiving.stdout is not None
        url = re.search(r"http://\S+", receiving.stdout.readline())
        assert url is not None
        for body in (
            notification(("Slow", "firing")),
            notification(("Slow", "firing"), ("Dead", "firing")),
            notification(("Slow", "resolved"), ("Dead", "firing")),
        ):
            assert post(url[0], body) == 200
        assert post(url[0], b"{}") == 400
        assert post(url[0].replace("/alerts", "/elsewhere"), b"{}") == 404
        receiving.send_signal(signal.SIGTERM)
        assert receiving.wait(30) == 0
    events = told(under)
    assert [(event.details["alert"], event.details["state"]) for event in events] == [
        ("Slow", "fired"),
        ("Dead", "fired"),
        ("Slow", "resolved"),
    ]
    assert events[0].what == "Slow (page) fired: Slow of the test"


def test_without_a_timeline_there_is_nothing_to_receive_for(stage: StageFactory) -> None:
    """The command says which topic is missing and how to make it, with status 2."""
    under = stage()
    under.prefix += "x"
    with command(under, "timeline", "receive", TOPOLOGY, "--port", "0") as receiving:
        assert receiving.wait(30) == 2


def test_alerts_that_cannot_be_written_are_refused_until_they_can(
    local_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """While the broker is away the answer is 503, so Alertmanager posts again; then each is there once."""
    cluster = local_cluster()
    cluster.up(timeout=120)
    with Stage(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path) as under:
        under.apply_topics()
        with AlertmanagerWebhook(under.kafka, under.pipeline, host="127.0.0.1", port=0) as receiver:
            assert post(receiver.url, notification(("First", "firing"))) == 200
            cluster.kill(cluster.ids[0])
            assert post(receiver.url, notification(("Second", "firing"))) == 503
            cluster.up(timeout=120)
            under.until(lambda: post(receiver.url, notification(("Second", "firing"))) == 200, 60, "it is written")
            port = int(receiver.url.split(":")[2].split("/")[0])
            with pytest.raises(StartupError, match="--port"):
                AlertmanagerWebhook(under.kafka, under.pipeline, host="127.0.0.1", port=port)
        assert [event.details["alert"] for event in told(under)] == ["First", "Second"]


def test_alerts_too_large_or_too_many(stage: StageFactory) -> None:
    """No answer makes Alertmanager post for ever: 3 MiB of text are cut, 20,000 alerts fit, the impossible is a 413."""
    under = stage()
    many = notification(*((f"Alert{number}", "firing") for number in range(20_000)))
    wordy = json.loads(notification(("Wordy", "firing")))
    wordy["alerts"][0]["annotations"]["description"] = "x" * (3 * 1024 * 1024)
    odd = json.loads(notification(("Good", "firing"), ("Odd", "firing")))
    odd["alerts"][1]["labels"]["huge"] = "x" * (3 * 1024 * 1024)
    with AlertmanagerWebhook(under.kafka, under.pipeline, host="127.0.0.1", port=0) as webhook:
        # A slow machine may need more than one answer's time: what was written meanwhile is not written again.
        under.until(lambda: post(webhook.url, many) == 200, 120, "all are written")
        for _ in range(2):
            assert post(webhook.url, many) == 200
            assert post(webhook.url, json.dumps(wordy).encode()) == 200
            assert post(webhook.url, json.dumps(odd).encode()) == 413
            assert post(webhook.url, b" " * BODY_BYTES_MAX + many) == 413
    with TopicReader(under.kafka, [under.pipeline.timeline], start="earliest") as reader:
        values = [value for records in reader.catch_up() for value in records.values.to_pylist()]
    written = [decode(value).details for value in values]
    assert len(written) == 20_002
    assert {each["alert"] for each in written} == {f"Alert{number}" for number in range(20_000)} | {"Wordy", "Good"}
    (cut,) = [each for each in written if each["alert"] == "Wordy"]
    assert cut["annotations_cut"] is True
    assert len(cut["annotations"]["description"]) == 1000


def test_alerts_that_the_topic_refuses_are_refused_for_good(stage: StageFactory) -> None:
    """A timeline that takes only small records: a 503 would be repeated for ever."""
    under = stage()
    resource = ConfigResource(ConfigResource.Type.TOPIC, under.pipeline.timeline)
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)
    )
    admin = clients.admin(under.kafka)
    (altered,) = admin.incremental_alter_configs([resource]).values()
    altered.result(30)

    def limited() -> bool:
        """The controller has the option before the broker uses it."""
        found = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, under.pipeline.timeline)])
        return all(each.result(10)["max.message.bytes"].value == "2000" for each in found.values())

    under.until(limited, 30, "the broker uses the limit")
    large = json.loads(notification(("Large", "firing")))
    large["alerts"][0]["labels"]["random"] = random.Random(1).randbytes(20_000).hex()
    with AlertmanagerWebhook(under.kafka, under.pipeline, host="127.0.0.1", port=0) as webhook:
        assert post(webhook.url, json.dumps(large).encode()) == 413
        assert post(webhook.url, notification(("Small", "firing"))) == 200
    assert [event.details["alert"] for event in told(under)] == ["Small"]


def test_a_follower_sees_what_comes_after_what_was(stage: StageFactory) -> None:
    """First the history since the asked time, without what is older; then each event as it is told."""
    under = stage()
    clock = SystemClock()
    appended: list[int] = []
    timeline = TimelineWriter(
        *(under.kafka, under.pipeline),
        who="test",
        clock=clock,
        ended=lambda _: None,
        appended=lambda _, at_ms: appended.append(at_ms),
    )
    for number, hours in enumerate((5, 1, 3)):
        at = round((clock.now() - hours * 3600) * 1000)
        timeline.write(EventKind.OPERATOR_COMMAND, f"number {number}", {}, at)
    under.until(lambda: len(told(under)) == 3, 30, "all three are told")
    lines: list[str] = []
    seen = threading.Condition()

    def read(follower: "subprocess.Popen[str]") -> None:
        for line in follower.stdout or ():
            with seen:
                lines.append(json.loads(line)["what"])
                seen.notify_all()

    with command(under, "timeline", "--since", "4h", "--follow", "--json", TOPOLOGY) as follower:
        reader = threading.Thread(target=read, args=(follower,), daemon=True)
        reader.start()
        with seen:
            assert seen.wait_for(lambda: len(lines) >= 2, 60), lines
        timeline.write(EventKind.OPERATOR_COMMAND, "number 3", {})
        with seen:
            assert seen.wait_for(lambda: len(lines) >= 3, 60), lines
        follower.send_signal(signal.SIGTERM)
        assert follower.wait(30) == 0
        reader.join(30)
    timeline.close()
    assert lines == ["number 2", "number 1", "number 3"]
    assert len(appended) == 4
    assert min(appended) > (clock.now() - 1800) * 1000, "the time of the broker, not that of the event"


def test_an_incident_is_drawn_up_from_the_timeline(stage: StageFactory, tmp_path: Path) -> None:
    """Markdown and its picture, of the asked span only; a span that ends before it begins is refused."""
    under = stage()
    clock = SystemClock()
    timeline = TimelineWriter(under.kafka, under.pipeline, who="w1", clock=clock, ended=lambda _: None)
    now = round(clock.now() * 1000)
    timeline.write(EventKind.WORKER_STARTED, "long before", {}, now - 5 * 3_600_000)
    timeline.write(EventKind.WORKER_FAILED, "ends with status 4: stuck", {"exit_code": 4}, now - 1_800_000)
    timeline.close()
    file = tmp_path / "incident.md"
    with command(under, "incident", "report", TOPOLOGY, "--from", "1h", "--to", "now", "-o", str(file)) as drawing:
        assert drawing.wait(60) == 0
    text = file.read_text()
    assert "1 with status 4" in text
    assert "long before" not in text
    assert (tmp_path / "incident-plots" / "timeline.svg").read_text().startswith("<svg")
    with command(under, "incident", "report", TOPOLOGY, "--from", "1h", "--to", "2h") as refused:
        assert refused.wait(60) == 2
