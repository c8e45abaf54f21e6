"""The rows of a table that were read or written lately, so that a key that comes again costs no search on disk.

Two generations, as in a generational collector: rows are put into the young one; when it is full it becomes the old
one, and what is found in the old one moves up. So what goes is what was not used while half of the room filled, and
nothing needs to be kept in order.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, repeat
from operator import is_

# A row held by Python: two bytes objects, a place in a dict at its emptiest, two list slots until the commit.
ROW_OVERHEAD = 240


def taken(keys: Iterable[bytes], values: Iterable[bytes | None]) -> int:
    """Return the bytes of memory that rows take; those without a value take a key. Pure."""
    sizes = list(map(len, keys))
    return ROW_OVERHEAD * len(sizes) + sum(sizes) + sum(map(len, filter(None, values)))


class RowCache:
    """Values by key in at most ``room`` bytes, while at most a quarter of that is ``held``, which never has to go."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._bytes = 0  # of the young ones
        self._began = 0  # with how many they began: those that were held

    def resize(self, room: int) -> None:
        """Take so many bytes from the next values on."""
        self._room = room

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, None for those that are not here."""
        found: list[bytes | None] = list(map(self._young.get, keys))
        if self._old and None in found:
            for place, key in enumerate(keys):
                if found[place] is None and (value := self._old.get(key)) is not None:
                    found[place] = self._young[key] = value
                    self._bytes += ROW_OVERHEAD + len(key) + len(value)
        return found

    def keep(self, keys: Sequence[bytes], values: Sequence[bytes], held: Mapping[bytes, object]) -> None:
        """Put values of distinct keys in; those of the keys in ``held`` stay, whatever goes to make room for them."""
        had, before = list(map(self._young.get, keys)), len(self._young)
        self._young.update(zip(keys, values, strict=True))
        if len(self._young) == before + len(keys):
            self._bytes += taken(keys, values)
        else:
            new = compress(keys, map(is_, had, repeat(None))) if len(self._young) > before else ()
            self._bytes += taken(new, values) - sum(map(len, filter(None, had)))
        if self._bytes > max(self._room / 2, 2 * self._began):
            old, self._old = self._old, self._young
            self._young = {}
            for key in held:
                value = self._old.get(key)
                self._young[key] = old[key] if value is None else value
            self._bytes = self._began = taken(self._young, self._young.values())

    def let_go(self, keys: Iterable[bytes]) -> None:
        """Forget these keys."""
        for key in keys:
            value = self._young.pop(key, None)
            if value is not None:
                self._bytes -= ROW_OVERHEAD + len(key) + len(value)
            self._old.pop(key, None)
