"""Compares sent events with outcomes: every event must have exactly one score, dead letter or re-keyed copy.

Events that the declaration filters have none.

Events are identified by their position (partition and offset) in the event topic; an id sent twice is at two positions
and counts as two events. Undecodable events have no id and are matched by position alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_OFFSET_BITS = 44  # allows 1.7e13 records per partition and 524,288 partitions
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class SentEvents:
    """The n records of the event topic, in any order across partitions.

    ``partition``, ``offset``: int64 [n]; ``ids``: string [n], null if the event does not decode;
    ``keys``: binary [n], null if the event has no key; ``filtered``: bool [n], whether the declaration leaves it
    without an outcome. ``original_partition``, ``original_offset``: int64 [n], the position of the event of which this
    one is the re-keyed copy, -1 if it is no copy.
    """

    partition: Int64s
    offset: Int64s
    ids: pa.Array
    keys: pa.Array
    filtered: Bools
    original_partition: Int64s
    original_offset: Int64s


@dataclass(frozen=True, slots=True)
class SeenScores:
    """The m records of the score topic.

    ``partition``, ``offset``: int64 [m], the position of the score; ``ids``, ``keys``: as in ``SentEvents``;
    ``source_partition``, ``source_offset``: int64 [m], the position of the scored event, -1 if it is of another topic
    or the score does not decode.
    """

    partition: Int64s
    offset: Int64s
    ids: pa.Array
    keys: pa.Array
    source_partition: Int64s
    source_offset: Int64s


@dataclass(frozen=True, slots=True)
class SeenDeadLetters:
    """The d dead letters: the position of the source, int64 [d], -1 for another topic or unreadable headers."""

    source_partition: Int64s
    source_offset: Int64s


@dataclass(frozen=True, slots=True)
class EventBounds:
    """By partition of the event topic: the first offset that retention left, and the group's committed offset.

    A partition without a committed offset has no processed event.
    """

    first: Mapping[int, int]
    committed: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of an audit, in numbers of events unless stated otherwise.

    ``lost``: processed, that is before the group's committed offset, without score, dead letter and re-keyed copy.
    ``waiting``: not processed yet. ``filtered``: processed, without an outcome because the declaration says so.
    ``duplicates``: with more than one of them. ``rekeyed``: sent again with the right key; the copies are events too.
    ``unexpected``: scores and dead letters of unsent events, scores of filtered events, or with another id, key or
    partition than the event; they are not counted as outcomes. ``expired``: scores and dead letters of events that
    retention has deleted since. ``held_back``: records of the three topics behind open transactions, which cannot be
    read yet. ``out_of_order``: scores after the score of a later event of the same key and partition. ``undecodable``
    and ``repeated_ids`` describe the sent events, not the pipeline; copies repeat no id. ``examples`` lists some
    findings.
    """

    events: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    unexpected: int
    out_of_order: int
    undecodable: int
    repeated_ids: int
    waiting: int = 0
    rekeyed: int = 0
    expired: int = 0
    held_back: int = 0
    filtered: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether no event was lost, duplicated, unexpected or out of order; some may wait."""
        return not (self.lost or self.duplicates or self.unexpected or self.out_of_order)

    @property
    def ok(self) -> bool:
        """Whether every event has exactly one outcome: it is correct, and no event waits."""
        return self.correct and not self.waiting

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def compare(
    sent: SentEvents, scores: SeenScores, dead: SeenDeadLetters, bounds: EventBounds, held_back: int = 0
) -> AuditReport:
    """Compare, by position and by id. Pure; the order of the rows does not matter. ``held_back``: as in the report."""
    order = np.argsort(_codes(sent.partition, sent.offset))
    codes = _codes(sent.partition, sent.offset)[order]
    ids, keys, filtered = sent.ids.take(order), sent.keys.take(order), sent.filtered[order]

    scored = _find(codes, _codes(scores.source_partition, scores.source_offset))
    # A score of an event has its partition, key and id.
    known = scored >= 0
    event = pa.array(np.where(known, scored, 0), mask=~known)
    known &= scores.partition == scores.source_partition
    known &= ~filtered[scored] if len(filtered) else known
    known &= _same(ids.take(event), scores.ids) & _equal_or_null(keys.take(event), scores.keys)
    dead_rows = _find(codes, _codes(dead.source_partition, dead.source_offset))

    outcomes = np.bincount(scored[known], minlength=len(codes)) + np.bincount(
        dead_rows[dead_rows >= 0], minlength=len(codes)
    )
    copied = _find(codes, _codes(sent.original_partition, sent.original_offset))
    copies = np.bincount(copied[copied >= 0], minlength=len(codes))  # that of an event not read yet says nothing
    outcomes += copies
    positions = _codes(scores.partition, scores.offset)
    committed = _with_outcomes(bounds.committed, sent.partition[order][outcomes > 0], sent.offset[order][outcomes > 0])
    processed = _before(sent.partition[order], sent.offset[order], committed)
    left_out = filtered & (outcomes == 0) & processed
    lost, duplicates = np.flatnonzero((outcomes == 0) & processed & ~filtered), np.flatnonzero(outcomes > 1)
    # The event of an outcome may have been deleted; nothing else is known of such an outcome.
    expired = (scored < 0) & _before(scores.source_partition, scores.source_offset, bounds.first)
    dead_expired = (dead_rows < 0) & _before(dead.source_partition, dead.source_offset, bounds.first)
    unexpected, dead_unexpected = ~known & ~expired, (dead_rows < 0) & ~dead_expired
    late = _out_of_order(scored, np.flatnonzero(known), scores, keys)
    found = {
        "lost": _examples(codes[lost], ids.take(lost[:_EXAMPLES])),
        "duplicates": _examples(codes[duplicates], ids.take(duplicates[:_EXAMPLES])),
        "unexpected": [
            *_examples(positions[unexpected], scores.ids.filter(pa.array(unexpected))),
            *_examples(_codes(dead.source_partition, dead.source_offset)[dead_unexpected], None),
        ][:_EXAMPLES],
        "out_of_order": _examples(positions[late], scores.ids.take(late)),
    }
    with_id = sent.ids.filter(pa.array(sent.original_offset < 0)).drop_null()
    return AuditReport(
        events=len(codes),
        scores=len(scored),
        dead_letters=len(dead_rows),
        lost=len(lost),
        duplicates=len(duplicates),
        unexpected=int(unexpected.sum() + dead_unexpected.sum()),
        out_of_order=len(late),
        undecodable=int((ids.is_null().to_numpy(zero_copy_only=False) & ~filtered).sum()),
        repeated_ids=len(with_id) - pc.count_distinct(with_id).as_py(),
        waiting=int(((outcomes == 0) & ~processed).sum()),
        rekeyed=int((copies > 0).sum()),
        expired=int(expired.sum() + dead_expired.sum()),
        held_back=held_back,
        filtered=int(left_out.sum()),
        examples={name: examples for name, examples in found.items() if examples},
    )


def _with_outcomes(committed: Mapping[int, int], partition: Int64s, offset: Int64s) -> dict[int, int]:
    """Return by partition the offset before which every event must have an outcome.

    Outcomes are committed in the order of the events, so an event before the last one with an outcome is processed,
    also if the committed offset has expired or was set back.
    """
    limits = dict(committed)
    for number in np.unique(partition).tolist():
        limits[number] = max(limits.get(number, 0), int(offset[partition == number].max()) + 1)
    return limits


def _codes(partition: Int64s, offset: Int64s) -> Int64s:
    """Return one number per position, in the order of (partition, offset); negative for no position."""
    return (partition << _OFFSET_BITS) | offset


def _before(partition: Int64s, offset: Int64s, limits: Mapping[int, int]) -> Bools:
    """Return whether each position is before the limit of its partition; false without a limit and for no position."""
    limit = np.zeros(1 + max([0, int(partition.max(initial=0)), *limits]), dtype=np.int64)
    limit[list(limits)] = list(limits.values())
    found: Bools = (partition >= 0) & (offset < limit[partition])
    return found


def _find(codes: Int64s, wanted: Int64s) -> Int64s:
    """Return for each wanted position its row in the sorted ``codes``, -1 if it is absent."""
    if not len(codes):
        return np.full(len(wanted), -1, dtype=np.int64)
    row = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    found: Int64s = np.where(codes[row] == wanted, row, -1)
    return found


def _same(one: pa.Array, other: pa.Array) -> Bools:
    same: Bools = pc.fill_null(pc.equal(one, other), False).to_numpy(zero_copy_only=False)
    return same


def _equal_or_null(one: pa.Array, other: pa.Array) -> Bools:
    nulls: Bools = pc.and_(pc.is_null(one), pc.is_null(other)).to_numpy(zero_copy_only=False)
    return _same(one, other) | nulls


def _out_of_order(scored: Int64s, rows: Int64s, scores: SeenScores, keys: pa.Array) -> Int64s:
    """Return the rows of the scores that follow the score of a later event of their key and partition.

    Of duplicate scores only the first counts, because the order was kept then. Events without a key have no order.
    """
    rows = rows[np.argsort(_codes(scores.partition[rows], scores.offset[rows]))]
    _, first = np.unique(scored[rows], return_index=True)
    rows = rows[np.sort(first)]
    encoded = pc.dictionary_encode(keys.take(pa.array(scored[rows])))
    key = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows, key = rows[key >= 0], key[key >= 0]
    # Events are numbered, and scores sorted, by partition and offset, so the numbers must increase within a key. One
    # running maximum serves all keys, because the ranks of each key exceed those of the previous key.
    by_key = np.argsort(key, kind="stable")
    rows, rank = rows[by_key], key[by_key] * len(keys) + scored[rows[by_key]]
    highest = np.maximum.accumulate(rank)
    late: Int64s = rows[rank < highest]
    return late


def _examples(codes: Int64s, ids: pa.Array | None) -> list[str]:
    """Return readable names of the first few positions, with the event's id if known."""
    names = [None] * _EXAMPLES if ids is None else ids.slice(0, _EXAMPLES).to_pylist()
    examples = []
    for code, name in zip(codes[:_EXAMPLES].tolist(), names, strict=False):
        position = "no position" if code < 0 else f"[{code >> _OFFSET_BITS}]@{code & ((1 << _OFFSET_BITS) - 1)}"
        examples.append(f"{position} {name}" if name else position)
    return examples
