"""A hash of bytes for compiled loops. Its values stay the same: shares of keys are chosen by it."""

import numpy as np
import numpy.typing as npt
from numba import int64

from surgetank.compiled import compiled


@compiled()
def hash_bytes(data: npt.NDArray[np.uint8], start: int, stop: int, seed: int) -> int:
    """Return a 64-bit hash of the bytes [start, stop): FNV-1a from ``seed``, with its bits mixed at the end."""
    state, part = int64(seed), data[start:stop]  # indexes of a slice from 0 on are never negative: no check per byte
    for at in range(len(part)):
        state = (state ^ int64(part[at])) * int64(0x100000001B3)
    state = (state ^ (state >> int64(32))) * int64(0x2545F4914F6CDD1D)
    return state ^ (state >> int64(29))  # type: ignore[return-value] # int64 in compiled code
