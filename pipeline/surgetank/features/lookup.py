"""Numbers that a small static table of the project has for a key of the event, such as the risk of a merchant."""

import hashlib
import json
import math
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.errors import TopologyError
from surgetank.features.columns import FEW_ROWS
from surgetank.features.spec import Feature, Float32s
from surgetank.features.string_columns import is_string, without_dictionary


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of numbers by key: ``columns`` are name and one number for each of ``keys``, None: missing.

    ``surgetank.lookup_file`` reads it from a file.
    """

    keys: tuple[str, ...] = attribute(repr=False)
    columns: tuple[tuple[str, tuple[float | None, ...]], ...] = attribute(repr=False)

    def column(self, name: str, *, of: str, default: float | None = None) -> "Lookup":
        """Return the feature that is the number in column ``name`` for the key in field ``of`` of the event.

        ``default`` is the number for a key that the table does not have; None: missing. Raises TopologyError if there
        is no such column.
        """
        columns = dict(self.columns)
        if name not in columns:
            raise TopologyError(f"the lookup table has no column {name!r}; it has: {', '.join(columns)}")
        return Lookup(of, name, self.keys, columns[name], default)


@dataclass(frozen=True, slots=True)
class Lookup(Feature):
    """The number of a table for a key; missing for null and where the table has none. See ``LookupTable.column``.

    The declaration has a hash of keys and numbers, whatever their order.
    """

    field: str
    column_name: str
    keys: tuple[str, ...] = attribute(repr=False)
    numbers: tuple[float | None, ...] = attribute(repr=False)
    default: float | None = None
    _found: pa.Array = attribute(init=False, repr=False, compare=False)
    _places: dict[str | None, int] = attribute(init=False, repr=False, compare=False)
    _values: Float32s = attribute(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.default is not None and not math.isfinite(self.default):
            raise TopologyError(f"lookup of {self.field!r}: default is {self.default}; it must be a finite number")
        default = math.nan if self.default is None else self.default
        values = [math.nan if number is None else number for number in self.numbers]
        object.__setattr__(self, "_found", pa.array(self.keys, pa.string()))
        places: dict[str | None, int] = {key: place for place, key in enumerate(self.keys)}
        object.__setattr__(self, "_places", places | {None: len(self.keys) + 1})
        with np.errstate(over="ignore"):
            object.__setattr__(self, "_values", np.array([*values, default, math.nan]).astype(np.float32))

    @property
    def name(self) -> str:
        """The names of field and column, for example ``merchant_risk``."""
        return f"{self.field}_{self.column_name}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The field."""
        return (self.field,)

    @property
    def expects(self) -> str:
        """The accepted type: a string or an integer."""
        return "a string or an integer"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, and strings, plain or dictionary-encoded (as decoded Avro enums are)."""
        return is_string(dtype) or bool(pa.types.is_integer(dtype))

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: the numbers, the default for other keys, NaN for null and for missing numbers."""
        texts = without_dictionary(columns.column(self.field)).cast(pa.string())
        if len(texts) <= FEW_ROWS:
            return self._values[[self._places.get(text, len(self.keys)) for text in texts.to_pylist()]]
        places = pc.index_in(texts, self._found).fill_null(len(self.keys)).to_numpy(zero_copy_only=False)
        if texts.null_count:
            places = np.where(texts.is_null().to_numpy(zero_copy_only=False), len(self.keys) + 1, places)
        found: Float32s = self._values[places]
        return found

    def declaration(self) -> dict[str, Any]:
        """Return kind, name, field, column, default and the hash of the table as plain JSON values."""
        content = json.dumps(
            sorted(zip(self.keys, self.numbers, strict=True), key=lambda each: each[0]), separators=(",", ":")
        )
        return {
            "kind": type(self).__name__,
            "name": self.name,
            "field": self.field,
            "column": self.column_name,
            "default": self.default,
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        }
