"""Each alert is written once, whatever Kafka does and however often it is posted."""

import json
from concurrent.futures import Future

from surgetank.kafka.confirmed import NotWritten
from surgetank.timeline.alert_writer import ANNOTATION_CHARACTERS, EVENT_BYTES_MAX, AlertWriter, Result, event_value
from surgetank.timeline.alerts import AlertNotification, parse_alerts
from surgetank.timeline.events import decode


def alert(name: str, **labels: str) -> AlertNotification:
    """Return an alert that fires."""
    posted = {
        "status": "firing",
        "labels": {"alertname": name} | labels,
        "startsAt": "2026-01-05T12:00:00Z",
        "fingerprint": name,
    }
    (found,) = parse_alerts(json.dumps({"alerts": [posted]}).encode(), "flights")
    return found


class Kafka:
    """Takes records; a test decides what becomes of each."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Future[int | None]]] = []

    def send(self, topic: str, value: bytes, at_ms: int) -> "Future[int | None]":
        """Keep the record's future for the test."""
        future: Future[int | None] = Future()
        self.sent.append((decode(value).details["alert"], future))
        return future

    @property
    def names(self) -> list[str]:
        """The alerts that were sent."""
        return [name for name, _ in self.sent]


def test_an_alert_that_is_under_way_is_not_sent_again() -> None:
    """Posted again before Kafka has answered, it is waited for; once written, it is known."""
    kafka = Kafka()
    writer = AlertWriter(kafka, "t")
    assert writer.write([alert("A"), alert("A")], 0) == Result(0, 0, 1)
    assert writer.write([alert("A"), alert("B")], 0) == Result(0, 0, 2)
    for _, future in kafka.sent:
        future.set_result(None)
    assert writer.write([alert("A"), alert("B")], 0) == Result(0, 0, 0)
    assert kafka.names == ["A", "B"]


def test_what_kafka_could_not_write_is_sent_again_and_what_it_refuses_is_told_apart() -> None:
    """The one waits for a repetition, the other for nobody; what was written with them stays written."""
    kafka = Kafka()
    writer = AlertWriter(kafka, "t")
    posted = [alert("Written"), alert("Late"), alert("Refused")]
    assert writer.write(posted, 0).waiting == 3
    kafka.sent[0][1].set_result(None)
    kafka.sent[1][1].set_exception(NotWritten("timed out", for_good=False))
    kafka.sent[2][1].set_exception(NotWritten("too large", for_good=True))
    assert writer.write(posted, 0) == Result(0, 0, 2)
    assert kafka.names == ["Written", "Late", "Refused", "Late", "Refused"]


def test_outcomes_are_counted_by_kind() -> None:
    """Kafka that answers at once: written, not written now, never to be written."""

    class Answers(Kafka):
        def send(self, topic: str, value: bytes, at_ms: int) -> "Future[int | None]":
            future = super().send(topic, value, at_ms)
            name = self.names[-1]
            if name == "Written":
                future.set_result(None)
            else:
                future.set_exception(NotWritten("no", for_good=name == "Refused"))
            return future

    writer = AlertWriter(Answers(), "t")
    posted = [alert("Written"), alert("Late"), alert("Refused"), alert("Huge", x="x" * EVENT_BYTES_MAX)]
    assert writer.write(posted, 0) == Result(1, 2, 1)
    assert writer.write(posted, 0) == Result(0, 2, 1)


def test_long_annotations_are_cut_and_labels_are_not() -> None:
    """What says which alert it is stays whole, or the alert is refused."""
    whole = alert("A", team="b" * 1000)
    assert decode(event_value(whole)).details["labels"] == {"alertname": "A", "team": "b" * 1000}
    wordy = AlertNotification(
        whole.key, whole.at_ms, whole.what, {**whole.details, "annotations": {"text": "ä" * 100_000}}
    )
    details = decode(event_value(wordy)).details
    assert details["annotations"] == {"text": "ä" * ANNOTATION_CHARACTERS}
    assert details["labels"] == whole.details["labels"]
    assert event_value(alert("A", team="b" * EVENT_BYTES_MAX)) is None
