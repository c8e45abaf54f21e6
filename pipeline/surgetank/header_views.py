"""The headers of split and of joined records: views of those that were read, which are not copied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # which imports this file
    from surgetank.records import Headers


@dataclass(frozen=True, slots=True)
class LaterHeaders:
    """The headers of records after the first ``rows`` of others. Call it with a row."""

    headers_of: "Callable[[int], Headers]"
    rows: int

    def __call__(self, row: int) -> "Headers":
        """Return the headers of a row."""
        return self.headers_of(row + self.rows)


@dataclass(frozen=True, slots=True)
class JoinedHeaders:
    """The headers of concatenated records. Call it with a row.

    ``starts`` is int64 [k + 1]: where each of the k parts starts, and the number of all rows.
    """

    parts: "Sequence[Callable[[int], Headers]]"
    starts: npt.NDArray[np.int64]

    def __call__(self, row: int) -> "Headers":
        """Return the headers of a row."""
        which = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[which](row - int(self.starts[which]))
