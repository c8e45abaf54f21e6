"""surgetank.state.store_identity: what a store was made for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import StateCorrupt, StateMismatch
from surgetank.state.store_identity import StoredIdentity, StoreIdentity, TableDifference, TableSignature

PATH = Path("state/payments/3")
A, B, C = TableSignature(16, "a"), TableSignature(24, "b"), TableSignature(24, "c")
NAMES = st.text(max_size=12)
TABLES = st.dictionaries(NAMES, st.builds(TableSignature, st.integers(9, 9999), st.text(max_size=8)), max_size=6)


@given(NAMES, st.integers(0, 999), TABLES)
def test_it_comes_back_from_its_json(name: str, task: int, tables: dict[str, TableSignature]) -> None:
    """Whatever tables there are, what is loaded is what was dumped."""
    kept = StoredIdentity.new(StoreIdentity(name, task, 1000, tables))
    assert StoredIdentity.load(kept.dump(), PATH) == kept


@given(TABLES)
def test_tables_never_share_a_number(tables: dict[str, TableSignature]) -> None:
    """Each table has one, and it fits in a byte beside those that stand for something else."""
    kept = StoredIdentity.new(StoreIdentity("payments", 3, 12, tables))
    assert sorted(kept.numbers) == sorted(kept.identity.tables)
    assert len(set(kept.numbers.values())) == len(kept.numbers)
    assert all(1 <= number <= 254 for number in kept.numbers.values())


def test_tables_differ_by_size_by_meaning_and_by_being_there() -> None:
    """Each table that is new, gone or of another shape is told, the others not."""
    kept = StoredIdentity.new(StoreIdentity("payments", 3, 12, {"same": A, "wider": A, "other": B, "gone": A}))
    wanted = StoreIdentity("payments", 3, 12, {"same": A, "wider": C, "other": C, "new": A})
    assert kept.differences(wanted) == (
        TableDifference("gone", A, None),
        TableDifference("new", None, A),
        TableDifference("other", B, C),
        TableDifference("wider", A, C),
    )


def test_state_of_another_number_of_partitions_is_not_believed() -> None:
    """Keys would be looked for in the wrong task: it is restored, as what is damaged is."""
    kept = StoredIdentity.new(StoreIdentity("payments", 3, 12, {}))
    with pytest.raises(StateCorrupt, match=r"for 12 partitions, and there are 24 now: keys have moved.*restored"):
        kept.check(StoreIdentity("payments", 3, 24, {}), PATH)


@pytest.mark.parametrize("other", [StoreIdentity("flights", 3, 12, {}), StoreIdentity("payments", 4, 12, {})])
def test_the_state_of_another_task_is_refused(other: StoreIdentity) -> None:
    """A folder that was moved or shared is told from one's own."""
    with pytest.raises(StateMismatch, match=r"state/payments/3 belongs to payments/3, not to"):
        StoredIdentity.new(StoreIdentity("payments", 3, 12, {})).check(other, PATH)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"pipeline": "p"}', b'{"tables": [1]}'])
def test_what_cannot_be_read_is_damage(text: bytes) -> None:
    """An identity that is no identity names the folder and says what happens next."""
    with pytest.raises(StateCorrupt, match=r"state/payments/3 .* restored"):
        StoredIdentity.load(text, PATH)


def test_too_many_tables_are_refused() -> None:
    """There is one byte for the number of a table."""
    tables = {f"table-{number}": A for number in range(254)}
    StoredIdentity.new(StoreIdentity("payments", 3, 12, tables))
    with pytest.raises(StateMismatch, match="at most 254 tables"):
        StoredIdentity.new(StoreIdentity("payments", 3, 12, tables | {"one more": A}))
