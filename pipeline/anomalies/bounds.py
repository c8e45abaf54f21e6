"""How far is too far: bounds that keep false alarms within a budget, however often and at how many things one looks.

Each look at each signal is a test. The union bound (Bonferroni) shares the budget among all tests of a week; it holds
whatever the tests have to do with one another, where Benjamini and Hochberg's procedure needs all of them at a time.
"""

import math
from functools import cache
from statistics import NormalDist

ALARMS_PER_WEEK = 0.01  # for each signal, if its noise were as the formulas say; real noise has heavier tails
LOOKS_PER_WEEK = 7 * 24 * 3600 // 2


@cache
def share_of(tests: int = 1) -> float:
    """Return the probability that one test may give a false alarm, where a signal is made of so many tests."""
    return ALARMS_PER_WEEK / (LOOKS_PER_WEEK * tests)


@cache
def deviations(samples: int, tests: int = 1) -> float:
    """Return how many standard deviations are too many, on either side.

    The deviation itself was estimated from ``samples`` values, by their median: with few it may be far too small.
    """
    return NormalDist().inv_cdf(1 - share_of(tests) / 2) * (1 + 2 / math.sqrt(samples))


def ks_bound(n: int, m: int) -> float:
    """Return the distance of two samples' distribution functions that is too large, for samples of n and m values.

    Massart's constant in the bound of Dvoretzky, Kiefer and Wolfowitz, as in the asymptotic two-sample test:
    D > sqrt(-ln(alpha / 2) / 2) * sqrt((n + m) / (n m)).
    """
    return math.sqrt(-math.log(share_of() / 2) / 2) * math.sqrt((n + m) / (n * m))


def psi_bound(n: int, m: int, bins: int) -> float:
    """Return the population stability index that is too large for two samples of one distribution.

    n m / (n + m) * PSI is about chi-squared with bins - 1 degrees of freedom (Yurdakul and Naranjo 2020); its quantile
    is Wilson and Hilferty's: k (1 - 2 / 9k + z sqrt(2 / 9k))^3.
    """
    freedom = max(1, bins - 1)
    z = NormalDist().inv_cdf(1 - share_of())
    quantile = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    return quantile * (n + m) / (n * m)
