"""(d) Quix Streams as in its documentation: a dataframe, one record at a time, to a topic. At least once."""

import json

import numpy as np

from ops.bench.by_quix import OneByOne, application
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.job import BUNDLE, BenchJob
from ops.bench.tuning import DELIVERING, FETCHING, QUIX_DATAFRAME

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000


class DataframeScorer:
    """Converts one framed event to its framed score."""

    def __init__(self, job: ContenderArgs) -> None:
        self._model = BenchJob(job.name, job.events)
        manifest = json.loads((BUNDLE / "manifest.json").read_text())
        words = {f["name"]: f["vocabulary"] for f in manifest["features"] if f["kind"] == "Category"}
        self._places = {name: {word: place for place, word in enumerate(words[name])} for name in words}
        self._wire = OneByOne(job, BUNDLE, "boarding")
        self._row = np.empty((1, 8), dtype=np.float32)

    def __call__(self, value: bytes) -> bytes:
        """Score one event."""
        event = self._wire.read(value)
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
        return self._wire.write(event, "tailnum", "boarding_at", float(self._model.infer(self._row)[0]))


def main(job: ContenderArgs) -> None:
    """Run until SIGTERM."""
    app = application(job, consumer_extra_config=FETCHING, producer_extra_config=DELIVERING, **QUIX_DATAFRAME)
    events = app.topic(job.events, key_deserializer="bytes", value_deserializer="bytes")
    scores = app.topic(job.scores, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(events).apply(DataframeScorer(job)).to_topic(scores)
    app.run()


if __name__ == "__main__":
    main(contender_args())
