"""Recomputes the rows of one task from its source records, by the same functions as a worker."""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from surgetank.features.row_layout import NEWEST_TIME
from surgetank.features.tables import TableState
from surgetank.features.windows import advance
from surgetank.processing.event_sequence import Bools, Int64s, milliseconds
from surgetank.records import DecodedBatch
from surgetank.state.changelog import RESERVED_KEYS
from surgetank.state.predictions import PREDICTION
from surgetank.state.row_serde import NO_OFFSET, RowSerde

ROWS = 1024  # the initial capacity


def feature_rows(
    table_state: TableState,
    serde: RowSerde,
    time: str,
    batches: Iterable[tuple[DecodedBatch, Callable[[bytes], bool] | None]],
    is_plausible: Callable[[Int64s, Int64s], Bools],
    slack_ms: int,
) -> dict[bytes, bytes]:
    """Return the values of a table by key, from the decoded events that update it, in order.

    ``time`` is the column of the event time. Each batch comes with a filter of its keys, None for all keys.
    ``is_plausible`` is a function as returned by ``plausible_times``. Rows that have expired ``slack_ms`` before the
    newest event time are omitted.
    """
    layout = table_state.layout
    index = dict.fromkeys(RESERVED_KEYS, -1)
    rows, offsets, known = layout.rows(ROWS), np.full(ROWS, NO_OFFSET, dtype=np.int64), 0
    for batch, key_filter in batches:
        rows_read = np.concatenate([batch.rows, batch.deletes])
        order = np.argsort(rows_read)
        deletes = order >= len(batch)
        rows_read = rows_read[order]
        keys = batch.records.keys.take(pa.array(rows_read)).to_pylist()
        for key in dict.fromkeys(keys):
            if key is not None and key not in index and (key_filter is None or key_filter(key)):
                index[key] = known
                known += 1
        if known > len(rows):
            more = max(known, 2 * len(rows)) - len(rows)
            rows = np.concatenate([rows, layout.rows(more)])
            offsets = np.concatenate([offsets, np.full(more, NO_OFFSET, dtype=np.int64)])
        times, known_times = milliseconds(batch.columns.column(time))
        times = np.concatenate([times, np.zeros_like(batch.deletes)])[order]
        known_times = np.concatenate([known_times, np.ones(len(batch.deletes), dtype=np.bool_)])[order]
        values = table_state.numbers(batch.columns)
        values = np.concatenate([values, np.full((len(batch.deletes), values.shape[1]), np.nan)])[order]
        at = np.fromiter((index.get(key, -1) for key in keys), np.int64, len(keys))
        at[~known_times] = -1
        writes = ~deletes & is_plausible(times, batch.records.arrived_ms[rows_read])
        reads = np.zeros(len(keys), dtype=np.bool_)
        advance(layout, rows, at, times, values, reads, writes, deletes)
        changing = np.flatnonzero((writes | deletes) & (at >= 0))
        offsets[at[changing]] = np.where(deletes, NO_OFFSET, batch.records.offsets[rows_read])[changing]
    kept = offsets != NO_OFFSET
    if kept.any() and layout.retention_ms is not None:
        kept &= ~layout.expired(rows, int(rows[kept, NEWEST_TIME].max()) - slack_ms)
    names = [key for key, row in index.items() if key is not None and row >= 0 and kept[row]]
    indexes = [index[key] for key in names]
    return dict(zip(names, serde.pack(rows[indexes], offsets[indexes]).to_pylist(), strict=True))


def last_scores(
    serde: RowSerde,
    batches: Iterable[tuple[DecodedBatch, Callable[[bytes], bool] | None]],
    retention_ms: int | None,
    slack_ms: int,
    future_ms: int,
) -> dict[bytes, bytes]:
    """Return the values of the prediction table by key, from decoded scores in order.

    Scores older than ``retention_ms`` plus ``slack_ms`` before the newest event are omitted; None: none are omitted.
    An event time more than ``future_ms`` after the time of scoring comes from a wrong clock and is not the newest.
    """
    last: dict[bytes, tuple[float, int, int, bytes, int]] = {}
    for batch, key_filter in batches:
        columns = batch.columns
        keys = batch.records.keys.take(pa.array(batch.rows)).to_pylist()
        found = zip(
            columns["score"].to_pylist(),
            milliseconds(columns["event_time"])[0].tolist(),
            milliseconds(columns["scored_at"])[0].tolist(),
            map(str.encode, columns["model_version"].to_pylist()),
            columns["source_offset"].to_pylist(),
            strict=True,
        )
        valid = ((key, row) for key, row in zip(keys, found, strict=True) if key not in RESERVED_KEYS)
        last.update((key, row) for key, row in valid if key is not None and (key_filter is None or key_filter(key)))
    if retention_ms is not None and last:
        plausible_ms = (event_ms for _, event_ms, scored_ms, *_ in last.values() if event_ms <= scored_ms + future_ms)
        if (newest_ms := max(plausible_ms, default=None)) is not None:
            last = {key: row for key, row in last.items() if row[1] >= newest_ms - slack_ms - retention_ms}
    rows = np.array([row[:4] for row in last.values()], dtype=PREDICTION)
    offsets = np.array([row[4] for row in last.values()], dtype=np.int64)
    return dict(zip(last, serde.pack(rows, offsets).to_pylist(), strict=True))
