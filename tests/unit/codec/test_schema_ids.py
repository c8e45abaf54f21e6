"""surgetank.codec.schema_ids: what is known of ids, what waits, and when to look up."""

import pytest

from surgetank.codec.schema_ids import (
    BACKOFF_SECONDS_MAX,
    DENIED_MAX,
    RegisteredSchema,
    SchemaIds,
    SchemaKey,
    backoff_seconds,
)

FIRST, OTHER = RegisteredSchema("AVRO", "1"), RegisteredSchema("AVRO", "2")


def ids_of(known: dict[SchemaKey, RegisteredSchema] | None = None) -> SchemaIds:
    """Return ids at time 0."""
    return SchemaIds(
        known or {}, not_found_seconds=10, recheck_seconds=60, is_same=lambda a, b: a.text == b.text, now=0.0
    )


def test_delays_grow_up_to_a_bound() -> None:
    """Each failure doubles the delay."""
    assert [backoff_seconds(n) for n in range(1, 5)] == [0.25, 0.5, 1, 2]
    assert backoff_seconds(1000) == BACKOFF_SECONDS_MAX


def test_an_asked_id_waits_until_it_is_found() -> None:
    """It is looked up at once, and again only to check it."""
    ids = ids_of()
    ids.ask([7], 1.0)
    assert ids.due(1.0) == [7]
    assert "7" in ids.why_waiting([7])
    assert ids.found(7, FIRST, 1.1)
    assert (ids.due(2.0), ids.schema(7), ids.why_waiting([7])) == ([], FIRST, "")
    assert ids.due(61.2) == [7]
    assert not ids.found(7, FIRST, 61.2)


def test_a_registry_that_fails_is_asked_less_and_less_often() -> None:
    """One delay for all ids; the first answer ends it."""
    ids = ids_of()
    ids.ask([1, 2], 0.0)
    ids.unavailable("refused", 0.0)
    assert (ids.due(0.2), ids.next_due()) == ([], 0.25)
    ids.unavailable("refused", 0.5)
    assert (ids.due(0.9), ids.due(1.0)) == ([], [1, 2])
    assert "unavailable: refused" in ids.why_waiting([1, 2])
    ids.found(1, FIRST, 1.5)
    assert (ids.problem, ids.due(1.5)) == ("", [2])
    ids.unavailable("refused", 2.0)
    assert ids.next_due() == 2.25


def test_an_id_is_denied_only_after_some_time() -> None:
    """A registry that is behind may have it a moment later; a denied id is looked up again, rarely."""
    ids = ids_of()
    ids.ask([9], 0.0)
    assert not ids.not_found(9, 0.0)
    assert (ids.due(0.9), ids.due(1.0)) == ([], [9])
    assert not ids.not_found(9, 9.5)
    assert ids.why_waiting([9])
    assert ids.due(10.0) == [9]
    assert ids.not_found(9, 10.0)
    assert (ids.is_denied(9), ids.why_waiting([9])) == (True, "")
    assert ids.found(9, FIRST, 70.0)
    assert (ids.is_denied(9), ids.schema(9)) == (False, FIRST)


def test_a_known_id_stays_known_while_the_registry_denies_it() -> None:
    """A registry that was emptied does not stop events whose schema is known."""
    ids = ids_of({3: FIRST})
    assert ids.due(0.0) == [3]
    assert not ids.not_found(3, 0.0)
    assert not ids.not_found(3, 100.0)
    assert (ids.schema(3), ids.why_waiting([3])) == (FIRST, "")


def test_another_schema_for_a_known_id_makes_it_wait() -> None:
    """Until the registry has the first one again; the first one stays the one that is known."""
    ids = ids_of({3: FIRST})
    assert ids.found(3, OTHER, 0.0)
    assert (ids.disputed(), ids.schema(3)) == ([3], FIRST)
    assert "another schema for ids 3" in ids.why_waiting([3])
    assert ids.due(15.0) == [3]
    assert ids.found(3, FIRST, 15.0)
    assert (ids.disputed(), ids.why_waiting([3])) == ([], "")


def test_waiting_ids_are_looked_up_before_known_ones() -> None:
    """A check of known ids delays no event."""
    ids = ids_of({3: FIRST})
    ids.ask([8], 0.0)
    assert ids.due(0.0) == [8, 3]


@pytest.mark.parametrize("extra", [1, 5])
def test_only_so_many_denied_ids_are_remembered(extra: int) -> None:
    """Random ids in damaged events do not fill the memory."""
    ids = ids_of()
    for number in range(DENIED_MAX + extra):
        ids.not_found(number, 0.0)
        ids.not_found(number, 10.0)
    assert not ids.is_denied(extra - 1)
    assert ids.is_denied(extra)
