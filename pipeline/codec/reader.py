"""Framed values of one schema version to columns: every row that is good, and why the others are not."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bisection import bisect_failures
from pipeline.codec.formats import Choose, format_of
from pipeline.codec.resolution import Resolution
from pipeline.codec.schema_repository import SchemaVersion
from pipeline.codec.types import arrow_schema
from pipeline.codec.wire import Malformed, canonical

Int64s = npt.NDArray[np.int64]
Failures = list[tuple[int, str]]  # positions, and why
Read = tuple[pa.RecordBatch, Int64s, Failures]

MESSAGE_MAX = 200


class Reader:
    """Reads framed values of one version into the columns of the current one."""

    def __init__(self, writer: SchemaVersion, reader: SchemaVersion, choose: Choose = format_of) -> None:
        self._record = writer.record
        self._schema = arrow_schema(reader.record)
        self._format = choose(writer)
        self._resolution = None if writer is reader else Resolution(writer, reader)

    def attempt(self, values: Sequence[bytes | None]) -> pa.RecordBatch | None:
        """Return the columns of the values, in the writer's version, if nothing at all is wrong with any of them."""
        try:
            return self._format.parse_exactly(cast("list[bytes]", values))  # a null is one of the things that raise
        except Exception:  # noqa: BLE001 - whatever it is, it will be found row by row
            return None

    def read(self, values: list[bytes]) -> Read:
        """Return the columns, the positions of their rows, int64 [m], rising, and the failures.

        The values are framed, with this version's id.
        """
        parts, failed = bisect_failures(len(values), lambda start, stop: self._format.parse(values[start:stop]))
        failures = [(position, self._explain(values[position], error)) for position, error in failed]
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self._schema), np.zeros(0, dtype=np.int64), failures
        columns = joined([columns for _, _, columns in parts])
        kept = np.concatenate([np.arange(start, stop, dtype=np.int64) for start, stop, _ in parts])
        columns, sure, more = self._check(columns, pa.array([values[row] for row in kept.tolist()], pa.binary()))
        failures += [(int(kept[position]), why) for position, why in more]
        kept = kept[sure]
        if self._resolution is not None:
            columns, fitted, more = self._resolve(self._resolution, [values[row] for row in kept.tolist()], columns)
            failures += [(int(kept[position]), why) for position, why in more]
            kept = kept[fitted]
        return columns, kept, sorted(failures)

    def _check(self, columns: pa.RecordBatch, wire: pa.BinaryArray) -> Read:
        """Write the columns again: what is not what came was read leniently and is walked through strictly."""
        again = self._format.dump(columns)
        if again.equals(wire):
            return columns, np.arange(len(wire), dtype=np.int64), []
        doubtful = np.flatnonzero(pc.not_equal(again, wire).to_numpy(zero_copy_only=False))
        mended: dict[int, bytes] = {}
        failures: Failures = []
        for position in doubtful.tolist():
            try:
                mended[position] = canonical(self._record, wire[position].as_py())
            except Malformed as error:
                failures.append((position, str(error)[:MESSAGE_MAX]))
        simple = list(mended.values())
        parts, failed = bisect_failures(len(simple), lambda start, stop: self._format.parse(simple[start:stop]))
        at = list(mended)
        failures += [(at[position], message_of(error)) for position, error in failed]
        sure = np.setdiff1d(np.arange(len(wire)), doubtful)
        back = [at[position] for start, stop, _ in parts for position in range(start, stop)]
        rows = np.concatenate([sure, np.array(back, dtype=np.int64)])
        order = np.argsort(rows)
        columns = joined([take(columns, sure), *(part for _, _, part in parts)])
        return take(columns, order), rows[order], failures

    def _resolve(self, resolution: Resolution, values: list[bytes], columns: pa.RecordBatch) -> Read:
        parts, failed = resolution.fit(values, columns)
        kept = [np.arange(start, stop, dtype=np.int64) for start, stop, _ in parts]
        fitted = [part for _, _, part in parts] or [pa.RecordBatch.from_pylist([], schema=self._schema)]
        failures = [(position, message_of(error)) for position, error in failed]
        return joined(fitted), np.concatenate([np.zeros(0, dtype=np.int64), *kept]), failures

    def _explain(self, value: bytes, error: Exception) -> str:
        """Return what is wrong with a value that does not decode; our own walk knows the field."""
        try:
            canonical(self._record, value)
        except Malformed as malformed:
            return str(malformed)[:MESSAGE_MAX]
        return message_of(error)


def joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of the parts, end to end; there is at least one part."""
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def take(columns: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
    """Return these rows."""
    return columns.take(pa.array(rows))


def message_of(error: Exception) -> str:
    """Return a short text for an error; it never holds a payload."""
    return f"{type(error).__name__}: {error}"[:MESSAGE_MAX]
