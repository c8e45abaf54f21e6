"""Writes dead letters to a file, with keys, values and headers."""

import base64
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surgetank.dead_letters.letters import SCHEMA, letter_columns
from surgetank.dead_letters.selection import Selection
from surgetank.errors import SettingsError
from surgetank.kafka.whole_topic import read_topic
from surgetank.records import Int64s, PartitionRecords
from surgetank.settings import KafkaSettings

_HEADERS = pa.list_(pa.struct([("name", pa.binary()), ("value", pa.binary())]))
EXPORTED = pa.schema([*SCHEMA, ("value", pa.large_binary()), ("headers", _HEADERS)])

Write = Callable[[pa.RecordBatch], None]


def export_letters(kafka: KafkaSettings, topic: str, selection: Selection, file: Path) -> int:
    """Write the selected letters of a topic to a file; return their number. An existing file is replaced.

    The suffix is .parquet, with the columns ``EXPORTED``, or .jsonl, with an object per line and bytes in base64.
    Raises SettingsError for another suffix or a folder that cannot be written, BrokerError, TopicsError.
    """
    opened = {".parquet": _parquet, ".jsonl": _json_lines}.get(file.suffix)
    if opened is None:
        raise SettingsError(f"--out {file}: name a file that ends with .parquet or .jsonl")
    partial = file.with_name(f"{file.name}.partial")
    number = 0
    with ExitStack() as stack:
        try:
            write = opened(partial, stack)
        except OSError as error:
            raise SettingsError(
                f"--out {file}: {error.strerror}; name a file in a folder that can be written"
            ) from None
        for records in read_topic(kafka, topic):
            letters = letter_columns(records)
            rows = np.flatnonzero(selection.mask(letters).to_numpy(zero_copy_only=False))
            if len(rows):
                write(_exported(records, letters, rows))
                number += len(rows)
    partial.replace(file)
    return number


def _exported(records: PartitionRecords, letters: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
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
