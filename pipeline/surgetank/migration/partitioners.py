"""Producers' partitioners: the functions that assign keys to partitions. Pure.

The partitioner of a pipeline's producers is detected from the partitions of its keys.
"""

import zlib
from collections.abc import Callable, Iterable

from surgetank.errors import TopicsError

Partitioner = Callable[[bytes, int], int]

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes, partitions: int) -> int:
    """Return the partition of a key by Kafka's Java client, and by librdkafka's ``murmur2_random``."""
    length = len(key)
    hashed = 0x9747B28C ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        word = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        word = ((word ^ (word >> 24)) * _M) & _MASK
        hashed = ((hashed * _M) & _MASK) ^ word
    if length > whole:
        hashed = ((hashed ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    hashed = ((hashed ^ (hashed >> 13)) * _M) & _MASK
    hashed ^= hashed >> 15
    return (hashed & 0x7FFFFFFF) % partitions


def crc32(key: bytes, partitions: int) -> int:
    """Return the partition of a key by librdkafka's default (``consistent_random``)."""
    return zlib.crc32(key) % partitions


PARTITIONERS: dict[str, Partitioner] = {"murmur2": murmur2, "crc32": crc32}


class PartitionerDetector:
    """Detects the partitioner from keys and their partitions, by excluding those that do not fit."""

    def __init__(self, partitions: int, required: str | None = None) -> None:
        """Accept only the partitioner ``required`` if it is given. Raises TopicsError if it is unknown."""
        if required is not None and required not in PARTITIONERS:
            raise TopicsError(f"unknown partitioner {required!r}; known are {', '.join(PARTITIONERS)}")
        self._partitions = partitions
        self._candidates = [required] if required else list(PARTITIONERS)
        self._required = required
        self._keys = 0

    def add(self, keys: Iterable[bytes], partition: int) -> None:
        """Exclude partitioners by keys of a partition. Raises TopicsError if none is left."""
        for key in keys:
            candidates = [name for name in self._candidates if PARTITIONERS[name](key, self._partitions) == partition]
            if not candidates:
                tried = " or ".join(self._candidates)
                raise TopicsError(
                    f"key {key!r} is in partition {partition} of {self._partitions}, but {tried} assigns it to another "
                    f"partition{' (unlike all other keys)' if self._keys else ''}: the partition that its producer "
                    "would choose among more partitions is unknown. Start over with `surgetank state reset`"
                )
            self._candidates = candidates
            self._keys += 1

    def name(self) -> str:
        """Return the name of the partitioner. Raises TopicsError if more than one is left."""
        if len(self._candidates) > 1:
            raise TopicsError(
                f"{self._keys} keys in {self._partitions} partitions do not determine the producers' partitioner; "
                "set it: --partitioner murmur2 (Java, or librdkafka with partitioner=murmur2_random) or crc32 "
                "(librdkafka by default)"
            )
        return self._candidates[0]
