"""What a record of a changelog holds, which is also what the store holds: a key and its row (``format``).

A record's key is the row's key, its value that of the row; null means that the row was forgotten.

Under the key ``MEANING`` stands what the rows of the partition mean: the fingerprint of the table's declaration. Rows
of another declaration may well have the same size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import StateCorrupt, StateMismatch
from pipeline.state.format import Format, Int64s, Rows

Changes = Mapping[bytes, bytes | None]
MEANING = b"\0meaning"


@dataclass(frozen=True, slots=True)
class Burst:
    """What some records say of their keys, the last of each key: k rows, and the keys that were forgotten.

    ``rows`` is [k, ...] as the format has it and ``source_offsets`` int64 [k].
    """

    keys: list[bytes]
    rows: Rows
    source_offsets: Int64s
    forgotten: list[bytes]


class Sink(Protocol):
    """Where changes go: a Store."""

    def write(self, changes: Mapping[str, Changes], positions: Mapping[str, int]) -> None:
        """Write all of it or nothing."""
        ...


def last_of_each(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], format_: Format, topic: str
) -> dict[bytes, bytes | None]:
    """Return the last value of each key, in columns of the same length as fetched from ``topic``.

    Raises StateCorrupt for a record that no table of that format wrote.
    """
    last = dict(zip(keys, values, strict=True))
    if None in last:
        raise StateCorrupt(f"changelog {topic} has a record without key, which no worker writes; rebuild the state")
    rows = [value for key, value in last.items() if value is not None and key != MEANING]
    fit = format_.fits(rows)
    if not fit.all():
        raise StateCorrupt(
            f"changelog {topic} has a value of {len(rows[int(fit.argmin())])} bytes that is no row of the table: "
            "another version of the features wrote it; migrate or rebuild the state"
        )
    return last  # type: ignore[return-value]


def without_meaning(changes: dict[bytes, bytes | None], fingerprint: str, topic: str) -> Changes:
    """Return the changes without the record that tells what rows mean.

    Raises StateMismatch if that is something else than the table of this ``fingerprint`` means.
    """
    told = changes.pop(MEANING, None)
    if told is not None and told != fingerprint.encode():
        raise StateMismatch(
            f"changelog {topic} holds rows of another declaration of its table: what is kept cannot become what is "
            "declared now. Declare it as before, give the table another name, or begin anew: `surgetank state reset`"
        )
    return changes


def decode(keys: Sequence[bytes | None], values: Sequence[bytes | None], format_: Format, topic: str) -> Burst:
    """Return what the records say, last of each key; as ``last_of_each``, but for reading rows."""
    last = last_of_each(keys, values, format_, topic)
    last.pop(MEANING, None)
    there = {key: value for key, value in last.items() if value is not None}
    packed = list(there.values())
    return Burst(
        keys=list(there),
        rows=format_.unpack(packed),
        source_offsets=format_.source_offsets(packed),
        forgotten=[key for key, value in last.items() if value is None],
    )


def apply(
    sink: Sink,
    table: str,
    format_: Format,
    topic: str,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    position: int,
) -> None:
    """Restore: write what a burst of records of ``topic`` says, and that ``topic`` is included up to ``position``.

    ``position`` is the offset of the next record to fetch, behind gaps and markers. Raises StateCorrupt as
    ``last_of_each`` does, and what the sink raises.
    """
    sink.write({table: last_of_each(keys, values, format_, topic)}, {topic: position})
