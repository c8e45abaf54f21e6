"""Thresholds of the anomaly tests, set so that the expected number of false alarms stays within a budget.

Each evaluation of each signal is one test. The union bound (Bonferroni) divides the budget among all tests of a week.
It holds for dependent tests, and unlike the procedure of Benjamini and Hochberg it needs no batch of p-values.
"""

import math
from functools import cache
from statistics import NormalDist

ALARMS_PER_WEEK = 0.01  # per signal, under the assumed noise distribution; real noise has heavier tails
EVALUATIONS_PER_WEEK = 7 * 24 * 3600 // 2


@cache
def false_alarm_probability(tests: int = 1) -> float:
    """Return the false-alarm probability of one of the ``tests`` tests that make up a signal."""
    return ALARMS_PER_WEEK / (EVALUATIONS_PER_WEEK * tests)


@cache
def deviations(samples: int, tests: int = 1) -> float:
    """Return the two-sided threshold in standard deviations.

    The standard deviation is estimated from ``samples`` values by their median absolute deviation. The threshold is
    raised for small samples, whose estimate may be far too small.
    """
    return NormalDist().inv_cdf(1 - false_alarm_probability(tests) / 2) * (1 + 2 / math.sqrt(samples))


def ks_bound(n: int, m: int) -> float:
    """Return the threshold of the Kolmogorov-Smirnov distance of two samples of n and m values.

    Massart's constant in the Dvoretzky-Kiefer-Wolfowitz bound, as in the asymptotic two-sample test:
    D > sqrt(-ln(alpha / 2) / 2) * sqrt((n + m) / (n m)).
    """
    return math.sqrt(-math.log(false_alarm_probability() / 2) / 2) * math.sqrt((n + m) / (n * m))


def psi_bound(n: int, m: int, bins: int) -> float:
    """Return the threshold of the population stability index of two samples of n and m values.

    n m / (n + m) * PSI is approximately chi-squared with bins - 1 degrees of freedom (Yurdakul and Naranjo 2020). The
    quantile is approximated by Wilson and Hilferty: k (1 - 2 / 9k + z sqrt(2 / 9k))^3.
    """
    freedom = max(1, bins - 1)
    z = NormalDist().inv_cdf(1 - false_alarm_probability())
    quantile = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    return quantile * (n + m) / (n * m)
