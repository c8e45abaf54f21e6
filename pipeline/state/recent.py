"""The rows of a table that were read or written lately, so that a key that comes again costs no search on disk.

Two generations, as in a generational collector: rows are put into the young one; when it is full it becomes the old
one, and what is found in the old one moves up. So what goes is what was not used while half of the room filled, and
nothing needs to be kept in order.
"""

from collections.abc import Iterable, Mapping, Sequence

# A row held by Python: two bytes objects, a place in a dict at its emptiest, two list slots until the commit.
ROW_OVERHEAD = 240
_MEMORY = 8192  # rows after which a row counts half as much for how large one is


class Recent:
    """Values by key in at most ``room`` bytes, while at most a quarter of that is ``held``, which never has to go.

    How many those are follows from how large the last ones were.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._seen = 0
        self.row_bytes: float = ROW_OVERHEAD
        """What a row takes, on average."""

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
        return found

    def keep(self, keys: Sequence[bytes], values: Sequence[bytes], held: Mapping[bytes, object]) -> None:
        """Put values in; those of the keys in ``held`` stay, whatever goes to make room for them."""
        if not keys:
            return
        self._young.update(zip(keys, values, strict=True))
        self._seen = min(self._seen + len(keys), _MEMORY)
        size = ROW_OVERHEAD + (sum(map(len, keys)) + sum(map(len, values))) / len(keys)
        self.row_bytes += (size - self.row_bytes) * min(1.0, len(keys) / self._seen)
        if len(self._young) > max(self._room / 2 / self.row_bytes, 2 * len(held), 1):
            old, self._old = self._old, self._young
            self._young = {}
            for key in held:
                value = self._old.get(key)
                self._young[key] = old[key] if value is None else value

    def let_go(self, keys: Iterable[bytes]) -> None:
        """Forget these keys."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)
