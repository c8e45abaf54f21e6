"""(d) Quix Streams with its state, in a separate environment: a stateful dataframe, RocksDB and a changelog topic.

At least once, one record at a time: its interface for whole batches, a sink, has no state. The update is the compiled
one, called for one event; the row is stored as bytes, because JSON would take ten times as long.
"""

from typing import Any

import numpy as np
from quixstreams import State  # type: ignore[import-not-found]

from ops.bench.by_quix import OneByOne, application
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.payments import layout
from ops.bench.payments_job import BUNDLE, PaymentsJob
from ops.bench.tuning import DELIVERING, FETCHING, QUIX_STATE
from surgetank.features.windows import _process_events

ROW = "row"


class StateScorer:
    """Converts one framed payment, and the state of its card, to its framed score."""

    def __init__(self, job: ContenderArgs) -> None:
        self._model = PaymentsJob(job.name, job.events)
        self._wire = OneByOne(job, BUNDLE, "card_payment")
        self._matrix = np.empty((1, 1 + len(layout.measures)), dtype=np.float32)
        self._fresh = layout.fresh.tobytes()
        self._seen = np.empty((1, len(layout.measures)))
        self._index, self._time, self._amount = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 1))
        self._always = np.ones(1, np.bool_)

    def __call__(self, value: bytes, state: State) -> bytes:
        """Score one event."""
        event = self._wire.read(value)
        rows = np.frombuffer(bytearray(state.get_bytes(ROW, self._fresh))).reshape(1, -1)
        self._matrix[0, 0] = event["amount"]
        self._matrix[0, 1:] = self._advanced(rows, event["paid_at"], event["amount"])
        state.set_bytes(ROW, rows.tobytes())
        return self._wire.write(event, "card", "paid_at", float(self._model.infer(self._matrix)[0]))

    def _advanced(self, rows: Any, time_ms: int, amount: float) -> Any:
        """Call the compiled loop directly: the checks in ``advance`` would take three times as long for one event."""
        self._seen.fill(np.nan)
        self._time[0], self._amount[0, 0] = time_ms, amount
        always = self._always
        never = np.iinfo(np.int64).max
        _process_events(
            self._seen,
            rows,
            self._index,
            self._time,
            self._amount,
            always,
            always,
            ~always,
            layout.fresh,
            never,
            *layout.program,
        )
        return self._seen[0]


def main(job: ContenderArgs) -> None:
    """Run until SIGTERM."""
    app = application(job, consumer_extra_config=FETCHING, producer_extra_config=DELIVERING, **QUIX_STATE)
    events = app.topic(job.events, key_deserializer="bytes", value_deserializer="bytes")
    scores = app.topic(job.scores, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(events).apply(StateScorer(job), stateful=True).to_topic(scores)
    app.run()


if __name__ == "__main__":
    main(contender_args())
