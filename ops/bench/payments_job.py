"""The processing of a batch of payments and the state rows of their cards in each contender, by hand: no engine.

All contenders update the rows with the engine's compiled code (``surgetank.features.windows``): the comparison is of
the code around it, and arithmetic in Python slows down no contender.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ops.bench.job import Avro, Scoring
from ops.bench.payments import layout
from ops.bench.tuning import BATCH_ROWS_MAX
from surgetank.features.spec import Float64s
from surgetank.features.windows import advance

BUNDLE = Path(__file__).with_name("models") / "payments-odd" / "1"
ROW_BYTES = layout.width * 8

Int64s = npt.NDArray[np.int64]

_VOID = np.dtype((np.void, ROW_BYTES))


class PaymentsJob(Scoring):
    """Scores whole batches of one topic's payments. Not for several threads at once."""

    def __init__(self, pipeline: str, events_topic: str) -> None:
        super().__init__(BUNDLE, pipeline, events_topic)
        self._events = Avro("card_payment")
        self._always = np.ones(BATCH_ROWS_MAX, dtype=np.bool_)

    def score(
        self,
        values: list[bytes],
        rows: Float64s,
        index: Int64s,
        partitions: Sequence[int],
        offsets: Sequence[int],
        spent: Callable[[str], None] = lambda _: None,
    ) -> list[bytes]:
        """Return one framed score per event, at most BATCH_ROWS_MAX. ``spent`` is called with the name of each part.

        ``rows`` are state rows, float64 [k, W], changed in place; ``index`` int64 [m] is the row of each event.
        """
        events = self._events.decode(values)
        spent("decode")
        amount: Float64s = events.field("amount").to_numpy()
        times: Int64s = events.field("paid_at").view(pa.int64()).to_numpy()
        always = self._always[: len(values)]
        seen, _ = advance(layout, rows, index, times, amount.reshape(-1, 1), always, always)
        matrix = np.empty((len(values), 1 + seen.shape[1]), dtype=np.float32)
        matrix[:, 0] = amount
        matrix[:, 1:] = seen
        spent("features")
        scores = self.infer(matrix)
        spent("infer")
        ids, keys = events.field("event_id"), events.field("card")
        encoded = self.encode(ids, keys, scores, events.field("paid_at"), partitions, offsets)
        spent("encode")
        return encoded


def pack(rows: Float64s) -> list[bytes]:
    """Return k rows, float64 [k, W], as bytes."""
    packed: Any = np.ascontiguousarray(rows).view(_VOID).reshape(-1)
    values: list[bytes] = packed.tolist()
    return values


def unpack(values: Sequence[bytes | None]) -> Float64s:
    """Return the rows of k values as a new array, float64 [k, W]; None is a card without a row."""
    fresh = layout.fresh.tobytes()
    joined = bytearray().join([fresh if value is None else value for value in values])
    return np.frombuffer(joined, dtype=np.float64).reshape(-1, layout.width)
