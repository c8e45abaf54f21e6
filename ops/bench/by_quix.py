"""Common parts of the contenders of Quix Streams: the application, and conversion of single events and scores.

Needs only the packages of their environment.
"""

import io
import json
import time
from pathlib import Path
from typing import Any

import fastavro
from quixstreams import Application, message_context  # type: ignore[import-not-found]

from ops.bench.contender_args import ContenderArgs
from ops.bench.job import Avro, folder_of


class OneByOne:
    """Converts framed events to records, and scores to framed values, by fastavro; for single records only."""

    def __init__(self, job: ContenderArgs, bundle: Path, events: str) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self._constant = {
            "pipeline": job.name,
            "model": manifest["name"],
            "model_version": manifest["version"],
            "source_topic": job.events,
        }
        self._event, self._score = _schema(events), _schema("score")
        self._frame = Avro("score").frame

    def read(self, value: bytes) -> Any:
        """Return an event as a dict; its times are integers."""
        body = io.BytesIO(value)
        body.seek(len(self._frame))
        return fastavro.schemaless_reader(body, self._event)

    def write(self, event: Any, key: str, at: str, score: float) -> bytes:
        """Return the framed score of this event; ``key`` and ``at`` name the fields of its key and time."""
        source = message_context()
        out = io.BytesIO()
        out.write(self._frame)
        record = {
            "event_id": event["event_id"],
            "key": event[key],
            "score": score,
            **self._constant,
            "event_time": event[at],
            "scored_at": time.time_ns() // 1_000_000,
            "source_partition": source.partition,
            "source_offset": source.offset,
        }
        fastavro.schemaless_writer(out, self._score, record)
        return out.getvalue()


def application(job: ContenderArgs, **settings: Any) -> Application:
    """Return the application of a contender. It creates its state folder even if it keeps no state."""
    return Application(broker_address=job.bootstrap, consumer_group=job.name, state_dir=job.folder, **settings)


def _schema(name: str) -> Any:
    """Return a schema without its time types: integers are the wire format, and faster."""
    record = json.loads((folder_of(name) / f"{name}.avsc").read_text())
    for field in record["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
    return fastavro.parse_schema(record)
