"""Reads small files of a project that belong to the declaration of features: vocabularies and lookup tables.

A path is relative to the folder of the project. What is read becomes a part of the declaration, and so of its
fingerprint. Each function raises TopologyError, which names the file, the line and what to do.
"""

import csv
import io
import math
from pathlib import Path

from surgetank.errors import TopologyError
from surgetank.features.lookup import LookupTable


def vocabulary_file(path: str | Path) -> tuple[str, ...]:
    """Return the values of a vocabulary, one on each line of a text file in UTF-8, for ``Category``.

    Spaces at the ends of a line belong to the value. Empty lines and values that are there twice are refused.
    """
    lines = _text(path, "vocabulary").removesuffix("\n").split("\n")
    values = [line.removesuffix("\r") for line in lines]
    if values == [""]:
        raise TopologyError(f"vocabulary {path} is empty; write one value on each line")
    first: dict[str, int] = {}
    for number, value in enumerate(values, 1):
        if not value:
            raise TopologyError(f"vocabulary {path}, line {number} is empty; delete it")
        if value in first:
            raise TopologyError(f"vocabulary {path}: {value!r} is on lines {first[value]} and {number}; delete one")
        first[value] = number
    return tuple(values)


def lookup_file(path: str | Path, *, key: str) -> LookupTable:
    """Return the table of a CSV file in UTF-8 with a header: a column ``key`` of texts, and columns of numbers.

    A number that is missing is an empty cell.
    """
    try:
        rows = list(csv.reader(io.StringIO(_text(path, "lookup table"), newline=""), strict=True))
    except csv.Error as error:
        raise TopologyError(f"lookup table {path} is not CSV: {error}; separate cells by commas") from None
    if not rows:
        raise TopologyError(f"lookup table {path} is empty; write a header with the names of the columns, then rows")
    header = rows[0]
    if twice := [name for name in header if header.count(name) > 1]:
        raise TopologyError(f"lookup table {path} has two columns {twice[0]!r}; rename or delete one")
    if key not in header:
        raise TopologyError(f"lookup table {path} has no column {key!r}; it has: {', '.join(header)}")
    if len(header) < 2 or len(rows) < 2:
        what = "no column besides the key" if len(header) < 2 else "no rows"
        raise TopologyError(f"lookup table {path} has {what}; add at least one")
    keys: dict[str, int] = {}
    columns: dict[str, list[float | None]] = {name: [] for name in header if name != key}
    for number, row in enumerate(rows[1:], 2):
        where = f"lookup table {path}, line {number}"
        if len(row) != len(header):
            raise TopologyError(f"{where} has {len(row)} cells and the header {len(header)}; write one for each column")
        cells = dict(zip(header, row, strict=True))
        if not cells[key]:
            raise TopologyError(f"{where} has no key; write one in column {key!r}, or delete the line")
        if cells[key] in keys:
            raise TopologyError(f"{where}: key {cells[key]!r} is on line {keys[cells[key]]} too; delete one")
        keys[cells[key]] = number
        for name, column in columns.items():
            column.append(_number(cells[name], f"{where}, column {name!r}"))
    return LookupTable(tuple(keys), tuple((name, tuple(column)) for name, column in columns.items()))


def _number(cell: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TopologyError(f"{where}: {cell!r} is no finite number; leave the cell empty where the number is missing")
    return number


def _text(path: str | Path, what: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TopologyError(
            f"{what} {path}: {error.strerror}; the path is relative to the folder of the project, here {Path.cwd()}"
        ) from None
    except UnicodeDecodeError as error:
        raise TopologyError(f"{what} {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
