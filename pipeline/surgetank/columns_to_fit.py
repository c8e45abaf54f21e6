"""Chooses the columns of a table that fit a terminal: a column is shown whole or left out. Pure."""

from collections.abc import Mapping, Sequence


def columns_to_fit(widths: Mapping[str, int], importance: Sequence[str], available: int, gap: int) -> list[str]:
    """Return the columns that fit, in the order of ``widths``, the more important ones first chosen.

    ``widths`` are characters by column, ``gap`` the characters that each column needs besides. The first column of
    ``importance`` is always chosen. A column that does not fit does not keep a narrower, less important one out.
    """
    chosen: set[str] = set()
    for name in importance:
        if not chosen or widths[name] + gap <= available:
            chosen.add(name)
            available -= widths[name] + gap
    return [name for name in widths if name in chosen]
