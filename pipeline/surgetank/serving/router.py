"""Decides which model scores which rows of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from surgetank.records import DecodedBatch
from surgetank.serving.key_share import KeyShare
from surgetank.serving.model import Model
from surgetank.serving_plan import ServingPlan


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


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The models of a plan in force. ``canary`` is None if no second version answers, ``canary_keys`` then too."""

    plan: ServingPlan
    primary: Model
    canary: Model | None = None
    canary_keys: KeyShare | None = None
    shadow: Model | None = None

    @classmethod
    def of(cls, plan: ServingPlan, models: Mapping[str, Model]) -> "ServedModels":
        """Return the models of a plan; ``models`` has all of its versions."""
        primary, canary = models[plan.primary], plan.canary
        shadow = None if plan.shadow is None else models[plan.shadow]
        if canary is None or canary.version == plan.primary:
            return cls(plan, primary, shadow=shadow)
        return cls(plan, primary, models[canary.version], KeyShare(canary), shadow)


class PlanRouter:
    """A ``Router`` that obeys the plan in force. ``served`` returns its models and is called once for each batch.

    So a switch is between two batches, and no batch is answered by two plans.
    """

    def __init__(self, served: Callable[[], ServedModels]) -> None:
        self._served = served

    def primary(self, events: DecodedBatch) -> Sequence[Route]:
        """Return the routes of primary and canary; one that would have no event is left out."""
        served = self._served()
        if served.canary is None or served.canary_keys is None:
            return (Route(served.primary, slice(0, len(events))),)
        chosen = served.canary_keys.chosen(events.records.keys, events.rows)
        if not chosen.any():
            return (Route(served.primary, slice(0, len(events))),)
        if chosen.all():
            return (Route(served.canary, slice(0, len(events))),)
        return (Route(served.primary, np.flatnonzero(~chosen)), Route(served.canary, np.flatnonzero(chosen)))
