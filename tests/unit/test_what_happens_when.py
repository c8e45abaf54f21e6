"""docs/what-happens-when.md: each row of its tables has a test with the same name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/what-happens-when.md"


def faults() -> list[str]:
    """Return the first cells of the page's tables, without the headings."""
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [fault for fault in rows if fault != "fault" and not re.fullmatch(r"-+", fault)]


def name_of_test(fault: str) -> str:
    """Return the name of the test of a fault: its words in lower case, joined by underscores."""
    return "test_" + re.sub(r"[^a-z0-9]+", "_", fault.lower()).strip("_")


@pytest.fixture(scope="module")
def names_of_tests() -> set[str]:
    """Return the names of all test functions of the project."""
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for source in sources for name in re.findall(r"^ *def (test_\w+)\(", source, re.MULTILINE)}


def test_each_row_of_the_page_has_a_test_of_its_name(names_of_tests: set[str]) -> None:
    """A row without a test of its name is a promise that nothing checks."""
    missing = [fault for fault in faults() if name_of_test(fault) not in names_of_tests]
    assert not missing, f"no test of these names: {[name_of_test(fault) for fault in missing]}"


def test_no_fault_stands_twice() -> None:
    """Two rows of one name would share one test."""
    rows = faults()
    assert len(rows) == len(set(rows))
