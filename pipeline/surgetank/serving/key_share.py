"""Chooses a share of keys by a stable hash: the same keys in every process, and more of them for a larger share.

A key has a number in [0, 1), made of its bytes and of a salt. It is chosen if its number is below the share, so raising
the share keeps the keys that were chosen before. Compiled with numba: no Python object per key.
"""

import hashlib
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import boolean, float64, int64, types, uint8, uint64, void

from surgetank.byte_hash import hash_bytes
from surgetank.compiled import compiled
from surgetank.records import Bools, Int64s, large_binary, value_bytes
from surgetank.serving_plan import Canary

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_INTS = types.Array(int64, 1, "C", readonly=True)
_TO_UNIT = 2.0**-53


class KeyShare:
    """The keys of a canary: those of ``allow``, and of the others but ``deny`` those whose number is below ``share``.

    A key that both lists contain is not chosen. Events without a key are not chosen; an empty key is a key.
    """

    def __init__(self, canary: Canary) -> None:
        self._share = canary.share
        self._seed = int.from_bytes(hashlib.sha256(canary.salt.encode()).digest()[:8], "little", signed=True)
        self._allow, self._deny = _column(canary.allow), _column(canary.deny)

    def chosen(self, keys: pa.LargeBinaryArray, rows: Int64s) -> Bools:
        """Return bool [m]: whether ``keys[rows[i]]`` is chosen; ``rows`` is int64 [m], places in the column."""
        found = np.empty(len(rows), dtype=np.bool_)
        _below(*value_bytes(keys), np.ascontiguousarray(rows), self._seed, self._share, found)
        if self._allow is not None:
            found |= _is_in(keys, self._allow)[rows]
        if self._deny is not None:
            found &= ~_is_in(keys, self._deny)[rows]
        if keys.null_count:
            found &= keys.is_valid().to_numpy(zero_copy_only=False)[rows]
        return found


def _column(keys: Collection[bytes]) -> pa.LargeBinaryArray | None:
    return large_binary(sorted(keys)) if keys else None


def _is_in(keys: pa.LargeBinaryArray, listed: pa.LargeBinaryArray) -> Bools:
    found: Bools = pc.is_in(keys, value_set=listed).to_numpy(zero_copy_only=False)
    return found


@compiled(void(_BYTES, _INTS, _INTS, int64, float64, boolean[::1]))
def _below(data: npt.NDArray[np.uint8], ends: Int64s, rows: Int64s, seed: int, share: float, found: Bools) -> None:
    """Write whether the number of each key is below the share.

    The hash is mixed once more by the finaliser of MurmurHash3 (Austin Appleby, public domain): every bit of it depends
    on every bit of key and salt, so that shares of different salts are independent.
    """
    for i in range(len(rows)):
        mixed = uint64(hash_bytes(data, ends[rows[i]], ends[rows[i] + 1], seed))
        mixed = (mixed ^ (mixed >> uint64(33))) * uint64(0xFF51AFD7ED558CCD)
        mixed = (mixed ^ (mixed >> uint64(33))) * uint64(0xC4CEB9FE1A85EC53)
        mixed = mixed ^ (mixed >> uint64(33))
        found[i] = float64(mixed >> uint64(11)) * _TO_UNIT < share
