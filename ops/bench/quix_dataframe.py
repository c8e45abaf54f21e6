"""(d) Quix Streams as its documentation writes it: a dataframe, one record at a time, to a topic. At least once."""

import io
import json
import time
from typing import Any

import fastavro
import numpy as np
from quixstreams import Application, message_context  # type: ignore[import-not-found]

from ops.bench.errand import Errand, errand
from ops.bench.job import BUNDLE, SCHEMAS, Avro, Job
from ops.bench.tuning import DELIVERING, FETCHING, QUIX_DATAFRAME

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000


class Scorer:
    """One framed event to its framed score."""

    def __init__(self, job: Errand) -> None:
        self._job = job
        self._model = Job(job.name, job.events)
        manifest = json.loads((BUNDLE / "manifest.json").read_text())
        words = {f["name"]: f["vocabulary"] for f in manifest["features"] if f["kind"] == "Category"}
        self._places = {name: {word: place for place, word in enumerate(words[name])} for name in words}
        self._constant = {"pipeline": job.name, "model": manifest["name"], "model_version": manifest["version"]}
        self._event, self._score = schema("boarding"), schema("score")
        self._frame = Avro("score").frame
        self._row = np.empty((1, 8), dtype=np.float32)

    def __call__(self, value: bytes) -> bytes:
        """Score one event."""
        body = io.BytesIO(value)
        body.seek(len(self._frame))
        event: Any = fastavro.schemaless_reader(body, self._event)
        departure = event["scheduled_departure"]
        places = self._places
        self._row[0] = (
            places["carrier"].get(event["carrier"], np.nan),
            places["origin"].get(event["origin"], np.nan),
            places["dest"].get(event["dest"], np.nan),
            event["distance"],
            event["scheduled_departure_local_minutes"],
            event["scheduled_arrival_local_minutes"],
            (departure // _DAY_MS + 3) % 7,
            (event["scheduled_arrival"] - departure) / _MINUTE_MS,
        )
        source = message_context()
        out = io.BytesIO()
        out.write(self._frame)
        score = {
            "event_id": event["event_id"],
            "key": event["tailnum"],
            "score": float(self._model.infer(self._row)[0]),
            **self._constant,
            "event_time": event["boarding_at"],
            "scored_at": time.time_ns() // 1_000_000,
            "source_topic": self._job.events,
            "source_partition": source.partition,
            "source_offset": source.offset,
        }
        fastavro.schemaless_writer(out, self._score, score)
        return out.getvalue()


def schema(name: str) -> Any:
    """Return a schema without its times: integers are what is on the wire, and faster."""
    record = json.loads((SCHEMAS / f"{name}.avsc").read_text())
    for field in record["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
    return fastavro.parse_schema(record)


def main(job: Errand) -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.name,
        consumer_extra_config=FETCHING,
        producer_extra_config=DELIVERING,
        **QUIX_DATAFRAME,
    )
    events = app.topic(job.events, key_deserializer="bytes", value_deserializer="bytes")
    scores = app.topic(job.scores, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(events).apply(Scorer(job)).to_topic(scores)
    app.run()


if __name__ == "__main__":
    main(errand())
