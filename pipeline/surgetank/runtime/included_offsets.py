"""Finds rows of a store that include events at or after the offset from which a task will continue."""

from collections.abc import Callable

from surgetank.records import large_binary
from surgetank.state.row_serde import RowSerde
from surgetank.state.store import Store

ROWS = 4096  # per scan


def included(
    store: Store, table: str, serde: RowSerde, start: int, ours: Callable[[bytes], bool], beat: Callable[[], None]
) -> int | None:
    """Return the offset after the last event that rows of a table include, if that is above ``start``, else None.

    ``ours`` returns whether the offset in the row of a key belongs to this task's partition. All rows are read;
    ``beat`` is called for every ``ROWS`` rows.
    """
    last, after = start - 1, None
    while rows := store.scan(table, after, ROWS):
        beat()
        after = rows[-1][0]
        offsets = serde.source_offsets(large_binary([value for _, value in rows])).tolist()
        last = max([last, *(at for (key, _), at in zip(rows, offsets, strict=True) if at > last and ours(key))])
    return last + 1 if last >= start else None
