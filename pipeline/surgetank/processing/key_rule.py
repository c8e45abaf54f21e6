"""Applies the declared rule for records whose key does not repeat the key field: count, refuse or re-key them."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surgetank.declaration import Events
from surgetank.processing.key_comparison import KEY_DIFFERS, KeyMismatches, find_mismatches, without
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.rekeying import (
    Partitioner,
    RekeyedRecords,
    copy_fits,
    rekeyed_headers,
    rekeyed_records,
    was_rekeyed,
)
from surgetank.record_compression import RecordBytes
from surgetank.records import DeadLetter, DecodedBatch, Headers
from surgetank.telemetry.metrics import Metrics


class KeyRuleResult(NamedTuple):
    """The events to process, a dead letter for each refused one, and the copies of the re-keyed ones, if any."""

    batch: DecodedBatch
    dead: tuple[DeadLetter, ...] = ()
    rekeyed: RekeyedRecords | None = None


class Rekeying(NamedTuple):
    """How a pipeline sends records to a topic of so many partitions again; ``bytes_max`` is the size of the largest."""

    pipeline: str
    partitioner: Partitioner
    bytes_max: RecordBytes
    partitions: int


class KeyRule:
    """The rule for the records of one topic. ``rekeying`` is given if they are re-keyed.

    ``warn``: whether a log line names records that update the state of another key.
    """

    def __init__(
        self, events: Events, *, rekeying: Rekeying | None, warn: bool, metrics: Metrics, warnings: RecordWarnings
    ) -> None:
        assert events.key is not None
        self._events = events
        self._field = events.key
        self._rekeying = rekeying
        self._warn = warn
        self._metrics = metrics
        self._warnings = warnings

    def apply(self, batch: DecodedBatch) -> KeyRuleResult:
        """Count the mismatches of a batch, and withhold those that are refused or re-keyed."""
        found = find_mismatches(batch, self._field)
        if not len(found):
            return KeyRuleResult(batch)
        missing = int(np.count_nonzero(found.missing))
        for kind, number in (("missing", missing), ("different", len(found) - missing)):
            if number:
                self._metrics.key_mismatches.add(number, topic=self._events.topic, kind=kind)
        if self._events.differing_keys == "count":
            if self._warn:
                rows = batch.rows[found.places]
                self._warnings.key_mismatches(batch.records, rows, found.missing, self._field)
            return KeyRuleResult(batch)
        rest = without(batch, found.places)
        if self._rekeying is None:
            rows = batch.rows[found.places].tolist()
            dead = [self._letter(row, gone, "") for row, gone in zip(rows, found.missing.tolist(), strict=True)]
            return KeyRuleResult(rest, tuple(dead))
        return self._rekeyed(batch, found, rest, self._rekeying)

    def _rekeyed(
        self, batch: DecodedBatch, found: KeyMismatches, rest: DecodedBatch, rekeying: Rekeying
    ) -> KeyRuleResult:
        records, events = batch.records, self._events
        dead: list[DeadLetter] = []
        sent: list[int] = []
        headers: list[Headers] = []
        for place, (row, key) in enumerate(zip(batch.rows[found.places].tolist(), found.keys, strict=True)):
            new = rekeyed_headers(records, row, rekeying.pipeline)
            if not key.is_valid:
                why = "; the field is null, so that it has no right key"
            elif was_rekeyed(records.headers_of(row)):
                why = "; it was sent again with another key before"
            elif not copy_fits(key.as_py(), records.values[row].as_py(), new, rekeying.bytes_max):
                why = "; with the right key and the header of its origin it is too large for its topic"
            else:
                sent.append(place)
                headers.append(new)
                continue
            dead.append(self._letter(row, bool(found.missing[place]), why))
        if not sent:
            return KeyRuleResult(rest, tuple(dead))
        copies = rekeyed_records(
            records,
            batch.rows[found.places[sent]],
            found.keys.take(pa.array(sent)),
            headers,
            topic=events.topic,
            partitions=rekeying.partitions,
            partitioner=rekeying.partitioner,
        )
        return KeyRuleResult(rest, tuple(dead), copies)

    def _letter(self, row: int, missing: bool, why: str) -> DeadLetter:
        has = "no key; the right one is in" if missing else "another key than that of"
        return DeadLetter(row, KEY_DIFFERS, f"the record has {has} its field {self._field!r}{why}")
