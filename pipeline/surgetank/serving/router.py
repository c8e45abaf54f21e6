"""Decides which model scores which rows of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from surgetank.records import DecodedBatch
from surgetank.serving.model import Model


@dataclass(frozen=True, slots=True)
class Route:
    """Rows to be scored by one model: ``positions`` in the batch, int64 [k], ascending, or a slice without a step."""

    model: Model
    positions: npt.NDArray[np.int64] | slice


class Router(Protocol):
    """Assigns the rows of a batch to models."""

    def primary(self, events: DecodedBatch) -> Sequence[Route]:
        """Return the models whose scores are emitted: every event of the batch is in exactly one route."""
        ...


class SingleModelRouter:
    """A ``Router`` that sends all rows to one model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def primary(self, events: DecodedBatch) -> Sequence[Route]:
        """Return one route with all events."""
        return (Route(self._model, slice(0, len(events))),)
