"""Decides what is known of the ids of a schema registry, and which ids to look up when. Pure.

An id is a number, or the GUID that a registry gives a schema beside it.

An id is *known* once the registry has returned its schema, and stays known while the registry is unavailable. It
*waits* until then; an id that the registry denies for some time is *denied*, until the registry has it. A known id for
which the registry returns another schema is *disputed*: it waits too, until the registry returns the first schema
again. Events of a waiting id must not be decoded.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

SchemaKey = int | UUID

BACKOFF_SECONDS = 0.25
BACKOFF_SECONDS_MAX = 15.0
DENIED_MAX = 10_000  # denied ids that are remembered: ids in damaged events may be any number


def backoff_seconds(failures: int) -> float:
    """Return the delay before the next request after so many failures in a row, at least one."""
    return min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10))


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as the registry has it: its type (``AVRO``, ``JSON``, ``PROTOBUF``) and its text."""

    type: str
    text: str


@dataclass(slots=True)
class _Id:
    """What is known of one id. Times are monotonic seconds."""

    schema: RegisteredSchema | None
    due: float
    denied_since: float | None = None
    denied: bool = False
    disputed: bool = False

    @property
    def waits(self) -> bool:
        return self.disputed or (self.schema is None and not self.denied)


class SchemaIds:
    """The ids of one registry. ``known`` are those of an earlier run, which are checked first.

    ``is_same`` compares two schemas. An id is denied after ``not_found_seconds`` of denials. Known, denied and disputed
    ids are looked up again every ``recheck_seconds``, disputed ones no later than after the longest backoff.
    """

    def __init__(
        self,
        known: Mapping[SchemaKey, RegisteredSchema],
        *,
        not_found_seconds: float,
        recheck_seconds: float,
        is_same: Callable[[RegisteredSchema, RegisteredSchema], bool],
        now: float,
    ) -> None:
        self._not_found_seconds = not_found_seconds
        self._recheck_seconds = recheck_seconds
        self._is_same = is_same
        self._ids: dict[SchemaKey, _Id] = {number: _Id(schema, now) for number, schema in known.items()}
        self._denied: dict[SchemaKey, None] = {}  # in order
        self._failures = 0
        self._not_before = now
        self.problem = ""  # why the registry is unavailable; empty if it answers

    def ask(self, ids: Collection[SchemaKey], now: float) -> None:
        """Look these ids up, unless something is known of them."""
        for number in ids:
            if number not in self._ids:
                self._ids[number] = _Id(None, now)

    def due(self, now: float) -> list[SchemaKey]:
        """Return the ids to look up now, those that wait first."""
        if now < self._not_before:
            return []
        due = [number for number, each in self._ids.items() if each.due <= now]
        return sorted(due, key=lambda number: not self._ids[number].waits)

    def next_due(self) -> float | None:
        """Return the time of the next lookup; None if no id is known of."""
        times = [each.due for each in self._ids.values()]
        return max(min(times), self._not_before) if times else None

    def found(self, number: SchemaKey, schema: RegisteredSchema, now: float) -> bool:
        """Take the registry's schema of an id; return whether that changed what is known of it."""
        each = self._answered(number)
        before = (each.schema, each.waits, each.denied)
        each.denied, each.denied_since = False, None
        self._denied.pop(number, None)
        each.due = now + self._recheck_seconds
        if each.schema is None:
            each.schema = schema
        each.disputed = not (each.schema == schema or self._is_same(each.schema, schema))
        if each.disputed:
            each.due = now + min(self._recheck_seconds, BACKOFF_SECONDS_MAX)
        return before != (each.schema, each.waits, each.denied)

    def not_found(self, number: SchemaKey, now: float) -> bool:
        """Take the registry's denial of an id; return whether that changed what is known of it."""
        each = self._answered(number)
        each.due = now + self._recheck_seconds
        if each.schema is not None or each.denied:
            return False  # a registry that lost its content says nothing against a schema that was known
        if each.denied_since is None:
            each.denied_since = now
        each.denied = now - each.denied_since >= self._not_found_seconds
        if not each.denied:
            each.due = min(each.denied_since + self._not_found_seconds, now + 1.0)
            return False
        self._denied[number] = None
        if len(self._denied) > DENIED_MAX:
            oldest = next(iter(self._denied))
            del self._denied[oldest], self._ids[oldest]
        return True

    def unavailable(self, why: str, now: float) -> None:
        """Take a failed request: no id is looked up before a delay that grows with each failure."""
        self._failures += 1
        self._not_before = now + backoff_seconds(self._failures)
        self.problem = why

    def schema(self, number: SchemaKey) -> RegisteredSchema | None:
        """Return the schema of an id, also of a disputed one; None if it is not known."""
        each = self._ids.get(number)
        return each.schema if each else None

    def is_denied(self, number: SchemaKey) -> bool:
        """Return whether the registry has denied the id for long enough."""
        each = self._ids.get(number)
        return each is not None and each.denied

    def known(self) -> dict[SchemaKey, RegisteredSchema]:
        """Return the schemas by id."""
        return {number: each.schema for number, each in self._ids.items() if each.schema is not None}

    def disputed(self) -> list[SchemaKey]:
        """Return the known ids for which the registry returned another schema last."""
        return [number for number, each in self._ids.items() if each.disputed]

    def why_waiting(self, ids: Collection[SchemaKey]) -> str:
        """Return why events of some ids wait, for people; empty if none of them waits."""
        waiting = sorted((each for each in ids if each not in self._ids or self._ids[each].waits), key=_order)
        disputed = [number for number in waiting if number in self._ids and self._ids[number].disputed]
        unknown = [number for number in waiting if number not in disputed]
        parts = []
        if unknown:
            why = f"the schema registry is unavailable: {self.problem}" if self.problem else "looked up in the registry"
            parts.append(f"schema ids {_listed(unknown)} are not known: {why}")
        if disputed:
            parts.append(
                f"the schema registry has another schema for ids {_listed(disputed)} than before: restore its content"
            )
        return "; ".join(parts)

    def _answered(self, number: SchemaKey) -> _Id:
        self._failures = 0
        self.problem = ""
        return self._ids.setdefault(number, _Id(None, 0.0))


def _order(key: SchemaKey) -> tuple[bool, int]:
    return isinstance(key, UUID), int(key)


def _listed(ids: list[SchemaKey]) -> str:
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
