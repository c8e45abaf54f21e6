"""Decides whether the outputs of a batch may be committed."""

import logging
from collections.abc import Sequence

from surgetank.clock import Clock
from surgetank.errors import StateClosed, StateDamaged, TooManyDeadLetters
from surgetank.processing.dead_letter_limit import DeadLetterLimit
from surgetank.processing.processor import BatchProcessor
from surgetank.records import BatchOutput, TaskRecords
from surgetank.state.state_manager import StateManager

log = logging.getLogger(__name__)


class CommitGuard:
    """Processes batches and withholds outputs. ``stores`` is None for a pipeline without tables."""

    def __init__(
        self, processor: BatchProcessor, limit: DeadLetterLimit, stores: StateManager | None, clock: Clock
    ) -> None:
        self._processor = processor
        self._limit = limit
        self._stores = stores
        self._clock = clock

    def process(self, tasks: Sequence[TaskRecords]) -> BatchOutput | None:
        """Process a batch; None if no output may be committed, because the state of a task is closed or damaged.

        Raises TooManyDeadLetters before any dead letter of the batch is committed.
        """
        try:
            output = self._processor.process(tasks)
        except StateClosed as error:
            log.debug("%s", error)
            return None
        except StateDamaged as error:
            if self._stores is not None:
                self._stores.mark_corrupted(error.partition, str(error))
            return None
        now = self._clock.monotonic()
        self._limit.observe(now, output.rows, len(output.dead))
        why = self._limit.tripped(now)
        if why is not None:
            raise TooManyDeadLetters(why)
        return output
