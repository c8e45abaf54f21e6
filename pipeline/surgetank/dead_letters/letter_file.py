"""The file format of dead letters outside Kafka: Parquet or JSON lines, with keys, values and headers."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surgetank.dead_letters.letters import SCHEMA
from surgetank.errors import SettingsError
from surgetank.records import Int64s, PartitionRecords

_HEADERS = pa.list_(pa.struct([("name", pa.binary()), ("value", pa.binary())]))
EXPORTED = pa.schema([*SCHEMA, ("value", pa.large_binary()), ("headers", _HEADERS)])

Write = Callable[[pa.RecordBatch], None]


@contextmanager
def letter_file(file: Path, option: str) -> Iterator[Write]:
    """Yield a function that appends rows of ``EXPORTED`` to a file. The file is there, whole, when all is written.

    The suffix is .parquet, with the columns ``EXPORTED``, or .jsonl, with an object per line and bytes in base64. An
    existing file is replaced. Raises SettingsError, which names ``option``, for another suffix or a folder that cannot
    be written.
    """
    opened = {".parquet": _parquet, ".jsonl": _json_lines}.get(file.suffix)
    if opened is None:
        raise SettingsError(f"{option} {file}: name a file that ends with .parquet or .jsonl")
    partial = file.with_name(f"{file.name}.partial")
    try:
        with ExitStack() as stack:
            try:
                write = opened(partial, stack)
            except OSError as error:
                raise SettingsError(
                    f"{option} {file}: {error.strerror}; name a file in a folder that can be written"
                ) from None
            yield write
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def exported(records: PartitionRecords, letters: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
    """Return these rows, int64 [k], of n letters with their values and headers, ``EXPORTED``."""
    headers = [
        [(name.encode(errors="surrogateescape"), value) for name, value in records.headers_of(row)]
        for row in rows.tolist()
    ]
    taken = pa.array(rows)
    return pa.RecordBatch.from_arrays(
        [*letters.take(taken).columns, records.values.take(taken), pa.array(headers, _HEADERS)], schema=EXPORTED
    )


def _parquet(file: Path, stack: ExitStack) -> Write:
    writer = stack.enter_context(pq.ParquetWriter(file, EXPORTED, compression="zstd"))
    return writer.write_batch  # type: ignore[no-any-return]


def _json_lines(file: Path, stack: ExitStack) -> Write:
    target = stack.enter_context(file.open("w"))

    def write(letters: pa.RecordBatch) -> None:
        target.writelines(json.dumps(row, default=_text) + "\n" for row in letters.to_pylist())

    return write


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.isoformat()
