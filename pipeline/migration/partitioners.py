"""In which partition producers put a key. Pure.

Which of these a pipeline's producers use is told by where its keys lie.
"""

import zlib
from collections.abc import Callable, Iterable

from pipeline.errors import TopicsError

Partitioner = Callable[[bytes, int], int]

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's Java client gives a key, and librdkafka's ``murmur2_random``."""
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
    """Return the partition that librdkafka gives a key by default (``consistent_random``)."""
    return zlib.crc32(key) % partitions


PARTITIONERS: dict[str, Partitioner] = {"murmur2": murmur2, "crc32": crc32}


class PartitionerDetector:
    """The partitioners that may have put the keys where they are, of so many partitions. Narrowed down key by key."""

    def __init__(self, partitions: int, named: str | None = None) -> None:
        """``named`` is the only one, if somebody says which. Raises TopicsError if there is none of that name."""
        if named is not None and named not in PARTITIONERS:
            raise TopicsError(f"there is no partitioner {named!r}; known are {', '.join(PARTITIONERS)}")
        self._partitions = partitions
        self._left = [named] if named else list(PARTITIONERS)
        self._named = named
        self._keys = 0

    def saw(self, keys: Iterable[bytes], partition: int) -> None:
        """Take note of keys that lie in a partition. Raises TopicsError if no partitioner would put one there."""
        for key in keys:
            left = [name for name in self._left if PARTITIONERS[name](key, self._partitions) == partition]
            if not left:
                tried = " or ".join(self._left)
                raise TopicsError(
                    f"key {key!r} lies in partition {partition} of {self._partitions}, where {tried} does not put it"
                    f"{' (as it does all the others)' if self._keys else ''}: with more partitions nobody could "
                    "tell where its producer sends it. The way out is to begin anew (`surgetank state reset`)"
                )
            self._left = left
            self._keys += 1

    def name(self) -> str:
        """Return which it is. Raises TopicsError if the keys do not tell."""
        if len(self._left) > 1:
            raise TopicsError(
                f"{self._keys} keys in {self._partitions} partitions do not tell which partitioner the producers use; "
                "say it: --partitioner murmur2 (Java, and what sets partitioner=murmur2_random) or crc32 (librdkafka "
                "by default)"
            )
        return self._left[0]
