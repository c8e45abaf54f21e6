"""Works the rows of one task out anew, from the records that made them: by the steps that a worker takes."""

from collections.abc import Callable, Iterable

import numpy as np

from pipeline.features.row_layout import SEEN
from pipeline.features.tables import TableState
from pipeline.features.windows import advance
from pipeline.processing.stateful_features import Bools, Int64s, milliseconds
from pipeline.records import DecodedBatch
from pipeline.state.changelog import RESERVED_KEYS
from pipeline.state.predictions import PREDICTION
from pipeline.state.row_serde import NO_OFFSET, RowSerde

ROWS = 1024  # to begin with


def feature_rows(
    memory: TableState,
    format_: RowSerde,
    time: str,
    batches: Iterable[tuple[DecodedBatch, Callable[[bytes], bool] | None]],
    believes: Callable[[Int64s, Int64s], Bools],
    slack_ms: int,
) -> dict[bytes, bytes]:
    """Return the values of a table by key, from all decoded events that feed it, in order; ``time`` is their column.

    Beside each batch stands which keys are meant, None for all. ``believes`` is as ``recall.believed`` returns it.
    Keys are left out that no event can tell from a fresh one which is later than ``slack_ms`` before the newest.
    """
    layout = memory.layout
    index = dict.fromkeys(RESERVED_KEYS, -1)
    rows, offsets, known = layout.rows(ROWS), np.full(ROWS, NO_OFFSET, dtype=np.int64), 0
    for batch, ours in batches:
        keys = [batch.records.keys[row] for row in batch.rows.tolist()]
        for key in dict.fromkeys(keys):
            if key is not None and key not in index and (ours is None or ours(key)):
                index[key] = known
                known += 1
        if known > len(rows):
            more = max(known, 2 * len(rows)) - len(rows)
            rows = np.concatenate([rows, layout.rows(more)])
            offsets = np.concatenate([offsets, np.full(more, NO_OFFSET, dtype=np.int64)])
        times, there = milliseconds(batch.columns.column(time))
        at = np.fromiter((index.get(key, -1) for key in keys), np.int64, len(keys))
        at[~there] = -1
        writes = believes(times, batch.records.arrived_ms[batch.rows])
        reads = np.zeros(len(keys), dtype=np.bool_)
        advance(layout, rows, at, times, memory.numbers(batch.columns), reads, writes)
        writing = np.flatnonzero(writes & (at >= 0))
        offsets[at[writing]] = batch.records.offsets[batch.rows[writing]]
    kept = offsets != NO_OFFSET
    if kept.any() and layout.memory_ms is not None:
        kept &= ~layout.expired(rows, int(rows[kept, SEEN].max()) - slack_ms)
    names = [key for key, place in index.items() if key is not None and place >= 0 and kept[place]]
    places = [index[key] for key in names]
    return dict(zip(names, format_.pack(rows[places], offsets[places]), strict=True))


def last_scores(
    format_: RowSerde,
    batches: Iterable[tuple[DecodedBatch, Callable[[bytes], bool] | None]],
    longest_ms: int | None,
    slack_ms: int,
) -> dict[bytes, bytes]:
    """Return the values of the table of last scores by key, from decoded scores in order.

    ``longest_ms`` is how long a last score is kept before the newest event, beside ``slack_ms``; None: for ever.
    """
    last: dict[bytes, tuple[float, int, int, bytes, int]] = {}
    for batch, ours in batches:
        columns = batch.columns
        keys = [batch.records.keys[row] for row in batch.rows.tolist()]
        found = zip(
            columns["score"].to_pylist(),
            milliseconds(columns["event_time"])[0].tolist(),
            milliseconds(columns["scored_at"])[0].tolist(),
            map(str.encode, columns["model_version"].to_pylist()),
            columns["source_offset"].to_pylist(),
            strict=True,
        )
        named = ((key, row) for key, row in zip(keys, found, strict=True) if key not in RESERVED_KEYS)
        last.update((key, row) for key, row in named if key is not None and (ours is None or ours(key)))
    if longest_ms is not None and last:
        oldest = max(row[1] for row in last.values()) - slack_ms - longest_ms
        last = {key: row for key, row in last.items() if row[1] >= oldest}
    rows = np.array([row[:4] for row in last.values()], dtype=PREDICTION)
    offsets = np.array([row[4] for row in last.values()], dtype=np.int64)
    return dict(zip(last, format_.pack(rows, offsets), strict=True))
