"""surgetank.processing.commit_guard: which outputs may be committed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from surgetank.codec.base import UNDECODABLE
from surgetank.errors import StateClosed, StateDamaged, TooManyDeadLetters
from surgetank.processing.commit_guard import CommitGuard
from surgetank.processing.dead_letter_limit import DeadLetterLimit
from surgetank.records import BatchOutput, DeadLetter, TaskRecords


class Clock:
    """Stands still."""

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return 0.0


class Processor:
    """Returns an output with dead letters, or raises."""

    def __init__(self, dead: int = 0, error: Exception | None = None) -> None:
        self.output = BatchOutput(
            10, (), tuple(DeadLetter(row, UNDECODABLE, "") for row in range(dead)), 10 - dead, np.zeros(0, np.int64)
        )
        self._error = error

    def process(self, tasks: Sequence[TaskRecords]) -> BatchOutput:
        """Return the output."""
        assert tasks == ()
        if self._error is not None:
            raise self._error
        return self.output


class Stores:
    """Keeps what was marked."""

    def __init__(self) -> None:
        self.corrupted: list[tuple[int, str]] = []

    def mark_corrupted(self, partition: int, reason: str) -> None:
        """Keep it."""
        self.corrupted.append((partition, reason))


def guard(processor: Any, stores: Any = None) -> CommitGuard:
    """Return a guard that allows half of ten events to be dead letters."""
    return CommitGuard(processor, DeadLetterLimit(0.5, 60, 10), stores, Clock())


def test_outputs_within_the_limit_may_be_committed() -> None:
    """The output is returned unchanged."""
    processor = Processor(dead=5)
    assert guard(processor).process(()) is processor.output


def test_more_dead_letters_than_the_limit_end_the_worker() -> None:
    """Before any of them is committed."""
    with pytest.raises(TooManyDeadLetters, match="6 of the last 10"):
        guard(Processor(dead=6)).process(())


def test_nothing_is_committed_while_the_state_of_a_task_is_closed() -> None:
    """The task was lost; the store is not damaged."""
    stores = Stores()
    assert guard(Processor(error=StateClosed("closed")), stores).process(()) is None
    assert stores.corrupted == []


def test_a_damaged_store_is_marked_and_nothing_is_committed() -> None:
    """It is deleted and restored when the task is opened again."""
    stores = Stores()
    assert guard(Processor(error=StateDamaged("bad block", 3)), stores).process(()) is None
    assert [(partition, "bad block" in reason) for partition, reason in stores.corrupted] == [(3, True)]
