"""The columns of a table that fit a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from surgetank.columns_to_fit import columns_to_fit

NAMES = ["a", "b", "c", "d", "e"]


@given(st.lists(st.integers(1, 20), min_size=5, max_size=5), st.permutations(NAMES), st.integers(0, 120))
def test_chosen_columns_fit_and_none_that_fits_is_left_out(widths: list[int], order: list[str], room: int) -> None:
    """Except the first one of the order, which is always there; the columns keep their places."""
    by_name = dict(zip(NAMES, widths, strict=True))
    chosen = columns_to_fit(by_name, order, room, gap=3)
    used = sum(by_name[name] + 3 for name in chosen)
    assert order[0] in chosen
    assert chosen == sorted(chosen)
    assert used <= room or chosen == [order[0]]
    assert all(used + by_name[name] + 3 > room for name in NAMES if name not in chosen)


def test_a_more_important_column_comes_first() -> None:
    """Of two that do not fit together."""
    assert columns_to_fit({"a": 10, "b": 10, "c": 2}, ["b", "a", "c"], 20, gap=1) == ["b", "c"]
