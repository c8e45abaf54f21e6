"""Style is a test: what reviewers would otherwise have to remember, checked on every file in a second."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ("pipeline", "topology", "schemas")
LINES_MAX = 400
CLOCK = "pipeline/surgetank/clock.py"
WALL_CLOCK = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
MACHINE_PATH = re.compile(r"(?<![\w.~{}/-])/(?:home|Users|root|work|mnt)/\w")
CHECKS = re.compile(r"check|validate")  # what raises when something is wrong
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".json",
    ".avsc",
    ".xml",
    ".txt",
    ".properties",
    ".sql",
    ".sh",
    "",
}


def sources(*folders: str) -> dict[str, ast.Module]:
    """Return the parsed Python files of some folders by their path in the project."""
    return {path: tree for folder in folders for path, tree in _parsed(folder).items()}


@cache
def _parsed(folder: str) -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))
    }


@cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return all nodes of a file."""
    return tuple(ast.walk(tree))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function, wherever it stands."""
    return (node for node in nodes(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def each_test(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions that pytest would run."""
    return (each for each in functions(tree) if each.name.startswith("test_"))


@cache
def full_names(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for, shortened to its last two parts."""
    names: dict[str, str] = {}
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            names |= {(each.asname or each.name): each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {(each.asname or each.name): f"{node.module}.{each.name}" for each in node.names}
    return names


def wall_clock_calls(tree: ast.Module) -> list[int]:
    """Return the lines where the wall clock is read, under whatever name it was imported."""
    names = full_names(tree)
    found = []
    for node in nodes(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, dot, rest = ast.unparse(node).partition(".")
            written = f"{names.get(first, '')}{dot}{rest}"
            if first in names and ".".join(written.split(".")[-2:]) in WALL_CLOCK:
                found.append(node.lineno)
    return found


def says_something(docstring: str | None) -> bool:
    """Whether a docstring has at least three words."""
    return len((docstring or "").split()) >= 3


def helpers_that_check() -> set[str]:
    """Return the names of functions in tests/ that assert, so that a test may call them."""
    return {each.name for tree in sources("tests").values() for each in functions(tree) if asserts(each)}


def asserts(function: ast.AST) -> bool:
    """Whether a function holds an assert, expects an exception, or fails by itself."""
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Attribute) and node.attr in {"raises", "fail", "warns"})
        or (isinstance(node, ast.Attribute) and node.attr.startswith("assert_"))
        for node in ast.walk(function)
    )


def calls(function: ast.AST) -> set[str]:
    """Return the names of what a function calls."""
    called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in called}


def test_every_module_says_what_it_is_for() -> None:
    """Each Python file of ours starts with a docstring that has something to say."""
    mute = [
        path for path, tree in sources(*ENGINE, "tests", "ops").items() if not says_something(ast.get_docstring(tree))
    ]
    assert mute == []


def test_the_files_that_run_first_are_there() -> None:
    """The order in tests/conftest.py names files that exist, each name once."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [names.count(name) for name in LONGEST_FIRST] == [1] * len(LONGEST_FIRST)


def test_every_test_states_the_expected_behaviour() -> None:
    """Each test function has a docstring of at least three words."""
    mute = [
        f"{path}::{each.name}"
        for path, tree in sources("tests").items()
        for each in each_test(tree)
        if not says_something(ast.get_docstring(each))
    ]
    assert mute == []


def test_every_test_can_fail() -> None:
    """Each test asserts, expects an exception, or calls a helper of tests/ or a check of ours that does."""
    checking = helpers_that_check()
    harmless = [
        f"{path}::{each.name}"
        for path, tree in sources("tests").items()
        for each in each_test(tree)
        if not asserts(each) and not any(name in checking or CHECKS.search(name) for name in calls(each))
    ]
    assert harmless == []


def test_nothing_is_mocked() -> None:
    """Tests use real parts or small fakes with behaviour; unittest.mock is imported nowhere."""
    mocking = [
        path
        for path, tree in sources(*ENGINE, "tests", "ops").items()
        if any(name.startswith("unittest.mock") for name in full_names(tree).values())
    ]
    assert mocking == []


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Only pipeline/surgetank/clock.py asks the machine for the time of day; all else is given a clock or a time."""
    readers = {path: lines for path, tree in sources(*ENGINE).items() if (lines := wall_clock_calls(tree))}
    assert set(readers) == {CLOCK}, readers


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("import time\ntime.time()", [2]),
        ("import time as t\nf = t.time_ns", [2]),
        ("from time import time\nx = time()", [2]),
        ("import datetime\ndatetime.datetime.now()", [2]),
        ("from datetime import datetime as d\nd.now(tz)", [2]),
        ("import time\ntime.monotonic(); time.perf_counter(); time.sleep(1)", []),
        ("from datetime import datetime\ndatetime.fromtimestamp(0)", []),
        ("def f(clock): clock.now()", []),
    ],
)
def test_the_wall_clock_is_found_under_any_name(code: str, lines: list[int]) -> None:
    """The search behind the clock rule sees through aliases and leaves other clocks alone."""
    assert sorted(set(wall_clock_calls(ast.parse(code)))) == lines


def test_a_file_fits_in_a_head() -> None:
    """No file of the engine is longer than 400 lines."""
    long = {
        path: lines for path in sources(*ENGINE) if (lines := len((ROOT / path).read_text().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_nothing_names_a_path_of_one_machine() -> None:
    """No file that we write holds an absolute path into somebody's home or workspace."""
    here = Path(__file__)
    written = {".git", *(path.name for path in ROOT.glob("*.json"))}  # by tools and runs, not by us
    own = [path for path in ROOT.iterdir() if path.is_file() and path.name not in written]
    for folder in (*ENGINE, "tests", "ops"):
        own += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    named = {
        path.relative_to(ROOT).as_posix(): found.group()
        for path in own
        if path.suffix in TEXT and path != here and (found := MACHINE_PATH.search(path.read_text(errors="replace")))
    }
    assert named == {}


def test_no_admin_client_is_asked_for_committed_offsets_but_in_a_process_of_its_own() -> None:
    """librdkafka's ends the process where the coordinator has moved (ops/decisions/0002); consumers answer as well.

    Of very many groups only the surveyor can ask, and only the child process of ``lag.asking`` makes a surveyor.
    """

    def users(name: str) -> set[str]:
        return {
            path
            for path, tree in sources(*ENGINE, "ops", "tests").items()
            if name in (ROOT / path).read_text()  # most files do not even contain the word
            for node in ast.walk(tree)
            if name in {getattr(node, "attr", ""), getattr(node, "id", "")}
            or (isinstance(node, ast.ImportFrom) and name in {each.name for each in node.names})
        }

    assert users("list_consumer_group_offsets") == {"pipeline/surgetank/kafka/offset_collector.py"}
    assert users("OffsetCollector") == {"pipeline/surgetank/lag/offset_collector_process.py"}
