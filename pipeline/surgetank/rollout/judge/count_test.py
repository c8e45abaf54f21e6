"""An e-process for counts: is the candidate's share of all errors larger than its share of the rows seen?

If both versions err alike, an error belongs to the candidate with the probability rho, its share of the blocks seen.
The Bayes factor of a Beta(rho m, (1 - rho) m) mixture against that, for S errors of the candidate and F others,

    E = B(rho m + S, (1 - rho) m + F) / B(rho m, (1 - rho) m) / (rho^S (1 - rho)^F)

is a martingale of mean 1, so that the probability that it ever reaches 1 / alpha is at most alpha, however often it is
looked at (Ville 1939; for canary releases Lindon and Malek 2022). All in logarithms.
"""

import math
from dataclasses import dataclass

from surgetank.rollout.judge.sums import KeySums, design_effect

PRIOR_ERRORS = 100.0  # m: the mixture is as wide as the doubtful shares after so many errors; see ops/decisions/0042


@dataclass(frozen=True, slots=True)
class CountEvidence:
    """Evidence that the candidate errs more often.

    ``log_e``: logarithm of the e-value, 0 without errors. ``worse``: the candidate's share of the errors exceeds its
    share of the blocks; only then ``log_e`` is evidence of harm. ``share``: of the candidate in the blocks seen, 0 to
    1. ``design``: the factor by which errors of alike rows were discounted.
    """

    log_e: float
    worse: bool
    share: float
    design: float


def log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function, a > 0, b > 0. Its error is below 1e-5 for a + b = 1e9."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_e_value(candidate: float, others: float, share: float, prior: float = PRIOR_ERRORS) -> float:
    """Return ln E for errors of the candidate and of the others, >= 0; fractions of errors are allowed.

    ``share`` is the candidate's share of the blocks seen. Raises ValueError if it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of the candidate must be between 0 and 1 (exclusive), not {share}")
    a, b = share * prior, (1 - share) * prior
    return (
        log_beta(a + candidate, b + others) - log_beta(a, b) - candidate * math.log(share) - others * math.log1p(-share)
    )


def evidence(candidate: KeySums, others: KeySums) -> CountEvidence:
    """Return the evidence that the candidate has a higher rate of flagged blocks."""
    blocks = candidate.blocks + others.blocks
    if not candidate.blocks or not others.blocks:
        return CountEvidence(0.0, False, candidate.blocks / blocks if blocks else 0.0, 1.0)
    share = candidate.blocks / blocks
    design = design_effect(candidate, others)
    log_e = log_e_value(candidate.total / design, others.total / design, share)
    return CountEvidence(log_e, candidate.total > share * (candidate.total + others.total), share, design)


def distribution_log_e(candidate: tuple[int, ...], others: tuple[int, ...]) -> float:
    """Return ln E that two histograms of keys, with the same bins, differ.

    It is the mean of the e-values of the bins, which is an e-value under any dependence (Vovk and Wang 2021). 0 if one
    of the histograms is empty.
    """
    mine, theirs = sum(candidate), sum(others)
    if not mine or not theirs:
        return 0.0
    share = mine / (mine + theirs)
    logs = [log_e_value(first, second, share) for first, second in zip(candidate, others, strict=True)]
    largest = max(logs)
    return largest + math.log(sum(math.exp(each - largest) for each in logs) / len(logs))
