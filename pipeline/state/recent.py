"""The rows of a table that were read or written lately, so that a key that comes again costs no search on disk.

Two generations, as in a generational collector: rows are put into the young one; when it is full it becomes the old
one, and what is found in the old one moves up. So what goes is what was not used while half of the room filled, and
nothing needs to be kept in order.
"""

from collections.abc import Iterable, Mapping, Sequence


class Recent:
    """At most ``rows_max`` values by key, while at most a quarter of them are ``held``, which never have to go."""

    def __init__(self, rows_max: int) -> None:
        self._half = max(1, rows_max // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def resize(self, rows_max: int) -> None:
        """Hold so many from the next values on."""
        self._half = max(1, rows_max // 2)

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

    def keep(self, keys: Iterable[bytes], values: Iterable[bytes], held: Mapping[bytes, object]) -> None:
        """Put values in; those of the keys in ``held`` stay, whatever goes to make room for them."""
        self._young.update(zip(keys, values, strict=True))
        if len(self._young) > max(self._half, 2 * len(held)):
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
