"""The interface of features, and the ordered list of features that makes a model's input. Pure functions of columns."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.errors import TopologyError

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

NO_AGGREGATES: Mapping[str, Float64s] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Input(ABC):
    """One column of a model's input: a stateless feature of the event, or an aggregate of earlier events of its key.

    Subclasses are frozen dataclasses: their fields are the declaration, and two inputs with equal fields have equal
    values.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the column in the model's input."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """The columns of the pipeline's events that the input reads."""

    @property
    @abstractmethod
    def expects(self) -> str:
        """The accepted type in words, for error messages: 'a number'."""

    @abstractmethod
    def takes(self, dtype: pa.DataType) -> bool:
        """Return whether the input can read a column of this Arrow type."""

    @property
    def aggregates(self) -> tuple["Input", ...]:
        """The aggregates that the input is computed from; an aggregate is its own."""
        return ()

    @abstractmethod
    def evaluate(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s]) -> Float32s | Float64s:
        """Return the values [m], NaN if missing, from a batch of m events and float64 [m] for each aggregate by name.

        Raises KeyError if one of ``aggregates`` of the input is absent.
        """

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, naming feature and column, if events of this schema cannot supply the input."""
        for column in self.inputs:
            self.check_column(column, schema)

    def check_column(self, column: str, schema: pa.Schema) -> None:
        """Raise TopologyError unless the events have the column, in a type that the input takes."""
        if column not in schema.names:
            raise TopologyError(
                f"feature {self.name!r} reads column {column!r}, which the events do not have; "
                f"they have: {', '.join(schema.names)}"
            )
        dtype = schema.field(column).type
        if not self.takes(dtype):
            raise TopologyError(
                f"feature {self.name!r} reads column {column!r}, which is {dtype} in the events; it must be "
                f"{self.expects}"
            )

    def declaration(self) -> dict[str, Any]:
        """Return kind, name and fields as plain JSON values, as a model bundle stores them."""
        fields = json.loads(json.dumps(asdict(self)))
        return {"kind": type(self).__name__, "name": self.name, **fields}


@dataclass(frozen=True, slots=True)
class Feature(Input):
    """A stateless input, computed from columns of the same event.

    ``column`` never raises for columns of types that ``takes`` accepts, whatever their values.
    """

    @abstractmethod
    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m] for a batch of m rows, NaN for missing values."""

    def evaluate(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s]) -> Float32s:  # noqa: ARG002
        """Return float32 [m]: the column, whatever the aggregates."""
        return self.column(columns)


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """A model's input: its columns in order. Raises TopologyError if it is empty or two columns share a name."""

    features: tuple[Input, ...]

    def __post_init__(self) -> None:
        if not self.features:
            raise TopologyError("the pipeline has no features; declare at least one")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise TopologyError(f"two features are named {twice[0]!r}; remove or rename one of them")
        aggregates = [each.name for each in self.aggregates]
        if len(set(aggregates)) < len(aggregates):
            name = next(name for name in aggregates if aggregates.count(name) > 1)
            raise TopologyError(f"two aggregates are named {name!r}; remove or rename one of them")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The event columns that the features read, without repetition, in the order of first use."""
        return tuple(dict.fromkeys(column for feature in self.features for column in feature.inputs))

    @property
    def aggregates(self) -> tuple[Input, ...]:
        """The aggregates that the features are or are computed from, without repetition, in the order of first use."""
        return tuple(dict.fromkeys(aggregate for feature in self.features for aggregate in feature.aggregates))

    @property
    def logged(self) -> tuple[Input, ...]:
        """The inputs whose values the feature log holds: the features, then the aggregates that are no features."""
        return (*self.features, *(each for each in self.aggregates if each not in self.features))

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, naming feature and column, if events of this schema cannot supply the features."""
        for feature in self.features:
            feature.check(schema)

    def matrix(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s] = NO_AGGREGATES) -> Float32s:
        """Return C-contiguous float32 [m, F], NaN for missing values.

        ``columns`` has m rows and at least the columns of ``inputs``, of types that ``check`` accepts.
        ``aggregates`` holds float64 [m] for each of the spec's aggregates by name. Raises KeyError if one is absent.
        """
        matrix = np.empty((columns.num_rows, len(self.features)), dtype=np.float32)
        with np.errstate(over="ignore"):  # values beyond the range of float32 become infinite
            for position, feature in enumerate(self.features):
                matrix[:, position] = feature.evaluate(columns, aggregates)
        return matrix

    def declaration(self) -> list[dict[str, Any]]:
        """Return the declarations of the features, in order, as plain JSON values."""
        return [feature.declaration() for feature in self.features]

    def fingerprint(self) -> str:
        """Return a hash of the declaration, the same in every process."""
        return fingerprint(self.declaration())


def fingerprint(declaration: list[dict[str, Any]]) -> str:
    """Return the SHA-256 of a declaration as hex."""
    canonical = json.dumps(declaration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
