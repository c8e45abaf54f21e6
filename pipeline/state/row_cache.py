"""A cache of recently read and written rows of a table, so that repeated keys need no search on disk.

It has two generations: rows are put into the young generation; when it is full it becomes the old one, and rows found
in the old one are moved to the young one. So rows unused while half of the capacity filled are evicted, without the
cost of an access order.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, repeat
from operator import is_

# Memory of a row in Python: two bytes objects, a dict entry at the lowest load factor, two list slots until the commit.
ROW_OVERHEAD = 240


def memory_bytes(keys: Iterable[bytes], values: Iterable[bytes | None]) -> int:
    """Return the memory that rows take, in bytes; rows without a value take that of a key. Pure."""
    sizes = list(map(len, keys))
    return ROW_OVERHEAD * len(sizes) + sum(sizes) + sum(map(len, filter(None, values)))


class RowCache:
    """Values by key in at most ``capacity`` bytes. Pinned rows, at most a quarter of it, are not evicted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._bytes = 0  # of the young generation
        self._pinned_bytes = 0  # the size of the young generation when it was created: its pinned rows

    def resize(self, capacity: int) -> None:
        """Set the capacity to ``capacity`` bytes, effective with the next values."""
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, None for keys that are not cached."""
        found: list[bytes | None] = list(map(self._young.get, keys))
        if self._old and None in found:
            for position, key in enumerate(keys):
                if found[position] is None and (value := self._old.get(key)) is not None:
                    found[position] = self._young[key] = value
                    self._bytes += ROW_OVERHEAD + len(key) + len(value)
        return found

    def put(self, keys: Sequence[bytes], values: Sequence[bytes], pinned: Mapping[bytes, object]) -> None:
        """Cache values of distinct keys. Keys in ``pinned`` are pinned: they stay cached whatever is evicted."""
        previous, before = list(map(self._young.get, keys)), len(self._young)
        self._young.update(zip(keys, values, strict=True))
        if len(self._young) == before + len(keys):
            self._bytes += memory_bytes(keys, values)
        else:
            new = compress(keys, map(is_, previous, repeat(None))) if len(self._young) > before else ()
            self._bytes += memory_bytes(new, values) - sum(map(len, filter(None, previous)))
        if self._bytes > max(self._capacity / 2, 2 * self._pinned_bytes):
            old, self._old = self._old, self._young
            self._young = {}
            for key in pinned:
                value = self._old.get(key)
                self._young[key] = old[key] if value is None else value
            self._bytes = self._pinned_bytes = memory_bytes(self._young, self._young.values())

    def remove(self, keys: Iterable[bytes]) -> None:
        """Remove these keys."""
        for key in keys:
            value = self._young.pop(key, None)
            if value is not None:
                self._bytes -= ROW_OVERHEAD + len(key) + len(value)
            self._old.pop(key, None)
