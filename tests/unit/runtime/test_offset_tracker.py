"""Progress against a naive model that remembers every offset."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surgetank.runtime.offset_tracker import OffsetTracker


@dataclass
class Run:
    """A run that was handed out; ``next`` is the offset behind it."""

    ticket: int
    next: int
    rows: int
    done: bool = False


class ProgressAgainstNaiveModel(RuleBasedStateMachine):
    """Hands out, finishes and commits runs at random; gaps stand for compaction and transaction markers."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = OffsetTracker(0)
        self.end = 0  # the next offset of the log
        self.runs: list[Run] = []  # every run ever, in order
        self.committed = 0

    @rule(gap=st.integers(0, 5), length=st.integers(0, 5), markers=st.integers(0, 3))
    def hand_out(self, gap: int, length: int, markers: int) -> None:
        """A run begins behind a gap and ends behind markers; it may hold no record at all."""
        first = self.end + gap
        self.end = first + length + markers
        self.runs.append(Run(self.progress.hand_out(first, self.end, length), self.end, length))

    @rule(data=st.data())
    def finish_any(self, data: st.DataObject) -> None:
        """Runs finish in any order."""
        unfinished = [run for run in self.runs if not run.done]
        if unfinished:
            run = data.draw(st.sampled_from(unfinished))
            self.progress.finish(run.ticket)
            run.done = True

    @rule()
    def commit(self) -> None:
        """What is committable is committed."""
        offset = self.progress.committable
        if offset is not None:
            self.progress.commit(offset)
            self.committed = offset
            while self.runs and self.runs[0].done:
                self.runs.pop(0)

    @rule(back=st.integers(0, 10))
    def reopen(self, back: int) -> None:
        """Close, seek, restart: a new progress from the committed offset, tickets of the old one are void."""
        self.progress = OffsetTracker(self.committed)
        self.end = self.committed
        self.runs = []

    @invariant()
    def never_past_unfinished_work(self) -> None:
        """What may be committed is the end of the longest finished head, no more and no less."""
        expected = None
        for run in self.runs:
            if not run.done:
                break
            expected = run.next

        assert self.progress.committable == expected
        assert self.progress.committed == self.committed
        assert self.progress.outstanding == bool(self.runs)
        assert self.progress.in_flight == sum(run.rows for run in self.runs)

    @invariant()
    def whole_means_no_finished_run_behind_an_open_one(self) -> None:
        """``whole`` tells whether a commit leaves outputs behind."""
        done = [run.done for run in self.runs]

        assert self.progress.whole == (done == sorted(done, reverse=True))


TestProgress = ProgressAgainstNaiveModel.TestCase


@given(st.integers(0, 100), st.integers(1, 100))
def test_records_before_the_position_are_refused(position: int, back: int) -> None:
    """Stale records, from before a seek, cannot be handed out again."""
    progress = OffsetTracker(position)

    with pytest.raises(ValueError, match="out of order"):
        progress.hand_out(position - back, position, back)


def test_a_run_finishes_once() -> None:
    """Finishing a run twice, or one that was never handed out, is a bug that shows."""
    progress = OffsetTracker(0)
    ticket = progress.hand_out(0, 5, 5)
    progress.finish(ticket)

    with pytest.raises(LookupError):
        progress.finish(ticket)
    with pytest.raises(LookupError):
        progress.finish(ticket + 1)


def test_only_the_end_of_a_finished_head_can_be_committed() -> None:
    """Committing an offset inside a run, or behind an unfinished one, is refused."""
    progress = OffsetTracker(0)
    progress.finish(progress.hand_out(0, 5, 5))
    progress.hand_out(5, 9, 4)

    with pytest.raises(ValueError, match="finished head ends at"):
        progress.commit(9)
