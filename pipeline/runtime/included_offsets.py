"""Finds rows of a store that include events behind the offset from which a task will go on."""

from collections.abc import Callable

from pipeline.state.row_serde import RowSerde
from pipeline.state.store import Store

ROWS = 4096  # in one look


def included(
    store: Store, table: str, format_: RowSerde, start: int, ours: Callable[[bytes], bool], beat: Callable[[], None]
) -> int | None:
    """Return the offset behind the last event that rows of a table include, if that is above ``start``, else None.

    ``ours`` tells whether the offset in the row of a key is of this task's partition. ``beat`` is called now and then,
    since all rows are read.
    """
    last, after = start - 1, None
    while rows := store.scan(table, after, ROWS):
        beat()
        after = rows[-1][0]
        offsets = format_.source_offsets([value for _, value in rows]).tolist()
        last = max([last, *(at for (key, _), at in zip(rows, offsets, strict=True) if at > last and ours(key))])
    return last + 1 if last >= start else None
