"""Checks that the candidate got the share of the keys that was configured: if not, no comparison is to be trusted.

A sample ratio mismatch test (Lindon and Malek 2022) on distinct keys: each key is the candidate's with the configured
probability, whatever its traffic. Rows are no measure for it: one busy key moves their share.
"""

import math
from dataclasses import dataclass

from surgetank.rollout.judge.count_test import log_e_value

ALPHA = 1e-4  # the probability that a right share is ever called wrong
TOLERANCE = 0.1  # of the configured share: keys on allow and deny lists


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """The share of keys seen against the share configured, both 0 to 1; ``keys``: how many were seen."""

    trusted: bool
    seen: float
    configured: float
    keys: int

    @property
    def why(self) -> str:
        """A sentence for operators."""
        told = "the share configured" if self.trusted else "the measurement is not to be trusted: does each worker"
        if self.trusted:
            return f"the candidate has {self.seen:.2%} of {self.keys:,} keys, {told} is {self.configured:.2%}"
        return (
            f"the candidate has {self.seen:.2%} of {self.keys:,} keys instead of {self.configured:.2%}: "
            f"{told} follow the same rollout, and are the lists of allowed and denied keys short?"
        )


def check_share(
    candidate: int, primary: int, configured: float, alpha: float = ALPHA, tolerance: float = TOLERANCE
) -> ShareCheck:
    """Compare numbers of distinct keys with the configured share, 0 < ``configured`` < 1. Valid at every look.

    Shares within ``tolerance`` times the configured one are right.
    """
    keys = candidate + primary
    seen = candidate / keys if keys else configured
    low, high = configured * (1 - tolerance), min(configured * (1 + tolerance), (1 + configured) / 2)
    if low <= seen <= high:
        return ShareCheck(True, seen, configured, keys)
    log_e = log_e_value(candidate, primary, low if seen < low else high)
    return ShareCheck(log_e < -math.log(alpha), seen, configured, keys)
