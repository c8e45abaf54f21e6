"""An e-process for pairs: of blocks where only one of two versions errs, is it more often the candidate?

Shadow rows are scored by both versions. If the versions are alike, a block where only one of them errs has the
candidate's error with probability 1/2: for S such blocks and F of the other kind, E = 2^(S+F) B(1 + S, 1 + F). Errors
that both share cancel, so it sees much smaller effects than the comparison of two groups of keys.
"""

import math
from dataclasses import dataclass

from surgetank.rollout.judge.count_test import log_beta
from surgetank.rollout.judge.sums import NO_KEYS, KeySums


@dataclass(frozen=True, slots=True)
class PairSums:
    """Blocks where one version has a flag and the other one has not.

    ``only_candidate``, ``only_primary``: numbers of such blocks. ``difference``: sums over all compared keys of the
    candidate's blocks minus the primary's.
    """

    only_candidate: int = 0
    only_primary: int = 0
    difference: KeySums = NO_KEYS

    def __add__(self, other: "PairSums") -> "PairSums":
        """Return the sums of both."""
        return PairSums(
            self.only_candidate + other.only_candidate,
            self.only_primary + other.only_primary,
            self.difference + other.difference,
        )

    @classmethod
    def of_independent(cls, only_candidate: int, only_primary: int, units: int) -> "PairSums":
        """Return the sums of independent units, for example seconds of workers."""
        total, squares = only_candidate - only_primary, only_candidate + only_primary
        return cls(only_candidate, only_primary, KeySums.of_independent(units, total, squares))

    @property
    def design(self) -> float:
        """Return the factor by which blocks of the same keys are discounted, at least 1."""
        discordant = self.only_candidate + self.only_primary
        return max(1.0, self.difference.squares / discordant) if discordant else 1.0


NO_PAIRS = PairSums()


def log_e_value(only_candidate: float, only_primary: float) -> float:
    """Return ln E for the two numbers of blocks, >= 0; fractions are allowed."""
    pairs = only_candidate + only_primary
    return pairs * math.log(2) + log_beta(1 + only_candidate, 1 + only_primary)


def evidence(pairs: PairSums) -> float:
    """Return ln E that the candidate alone errs more often than the primary alone; at most 0 if it does not."""
    found = log_e_value(pairs.only_candidate / pairs.design, pairs.only_primary / pairs.design)
    return found if pairs.only_candidate > pairs.only_primary else min(0.0, found)
