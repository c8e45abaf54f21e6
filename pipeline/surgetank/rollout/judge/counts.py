"""What a judge knows of a step: counts of two versions, small immutable values that are added and written as JSON.

Each worker counts its own rows from the start of the step; the judge adds the latest counts of all workers. All tests
are functions of these sums, so that a judge that was restarted goes on where it was.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from surgetank.rollout.judge.paired_test import NO_PAIRS, PairSums
from surgetank.rollout.judge.sums import NO_KEYS, KeySums


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """Counts of the rows that one version scored.

    ``rows``: all of them. ``keys``: distinct keys, of the part of all keys that is counted, the same one for both
    versions in each worker. ``errors``: blocks in which the model raised for a row, ``not_a_number``: in which it gave
    NaN or infinity. ``scores``: of the first score of each block, on the ``ScoreScale``, in standard deviations.
    ``bins``: keys by the bin of their first score in the step; empty if the scale has none. ``losses``: of blocks whose
    label came.
    """

    rows: int = 0
    keys: int = 0
    errors: KeySums = NO_KEYS
    not_a_number: KeySums = NO_KEYS
    scores: KeySums = NO_KEYS
    bins: tuple[int, ...] = ()
    losses: KeySums = NO_KEYS

    def __add__(self, other: "VersionCounts") -> "VersionCounts":
        """Return the counts of both. Raises ValueError if their bins differ in number."""
        return VersionCounts(
            self.rows + other.rows,
            self.keys + other.keys,
            self.errors + other.errors,
            self.not_a_number + other.not_a_number,
            self.scores + other.scores,
            _added(self.bins, other.bins),
            self.losses + other.losses,
        )


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """Comparisons of rows that both versions scored; ``rows``: their number.

    ``differences``: of the candidate's score minus the primary's, in standard deviations, of the first row of a block
    that has both.
    """

    rows: int = 0
    errors: PairSums = NO_PAIRS
    not_a_number: PairSums = NO_PAIRS
    differences: KeySums = NO_KEYS

    def __add__(self, other: "ShadowCounts") -> "ShadowCounts":
        """Return the counts of both."""
        return ShadowCounts(
            self.rows + other.rows,
            self.errors + other.errors,
            self.not_a_number + other.not_a_number,
            self.differences + other.differences,
        )


NO_ROWS, NO_SHADOW = VersionCounts(), ShadowCounts()


@dataclass(frozen=True, slots=True)
class StepCounts:
    """All counts of one step of a rollout.

    ``slow``: seconds of workers in which calls of one version alone were slower than the latency bound; its units are
    the seconds in which both versions were called.
    """

    candidate: VersionCounts = NO_ROWS
    primary: VersionCounts = NO_ROWS
    shadow: ShadowCounts = NO_SHADOW
    slow: PairSums = NO_PAIRS

    def __add__(self, other: "StepCounts") -> "StepCounts":
        """Return the counts of both, for example of two workers. Raises ValueError if their bins differ in number."""
        return StepCounts(
            self.candidate + other.candidate,
            self.primary + other.primary,
            self.shadow + other.shadow,
            self.slow + other.slow,
        )

    def as_json(self) -> bytes:
        """Return the counts as a JSON object."""
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, text: bytes) -> "StepCounts":
        """Return the counts that ``as_json`` wrote. Raises ValueError, saying where, if the text is something else."""
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole text"
            raise ValueError(f"these are no counts of a rollout's step: {where}: {first['msg']}") from error


_ADAPTER = TypeAdapter(StepCounts)


def _added(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sums of two histograms, of which one may be empty."""
    if not first or not second:
        return first or second
    if len(first) != len(second):
        raise ValueError(
            f"histograms of {len(first)} and {len(second)} bins cannot be added: all workers need the same score scale"
        )
    return tuple(map(sum, zip(first, second, strict=True)))
