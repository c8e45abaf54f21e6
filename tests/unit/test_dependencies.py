"""Every declared dependency is used where it belongs, and what the engine imports is declared."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENGINE = ("pipeline", "topology", "schemas")
TEMPLATE = ROOT / "pipeline" / "surgetank" / "scaffold" / "template"  # a project of its own, with its own modules
# Which folders a group of dependencies belongs to.
FOLDERS = {
    "": ENGINE,
    "flights": ("topology",),
    "training": ("ops/training",),
    "local": ("pipeline",),
    "offline": ("pipeline",),
    "registry": ("pipeline",),
    "model-registry": ("pipeline",),
    "mlflow": ("pipeline",),
    "signing": ("pipeline",),
    "dev": (*ENGINE, "ops", "tests"),
}
# Tools that are run, not imported: the file that runs or configures each, and the words by which it does.
TOOLS = {
    "import-linter": ("Makefile", "$(BIN)/lint-imports"),
    "mypy": ("Makefile", "$(BIN)/mypy"),
    "py-spy": ("ops/bench/profile.py", 'which("py-spy"'),
    "pytest-asyncio": ("pyproject.toml", "asyncio_mode"),
    "pytest-xdist": ("Makefile", "$(BIN)/pytest -n 2"),
    "ruff": ("Makefile", "$(BIN)/ruff"),
    "setuptools": ("pyproject.toml", 'build-backend = "setuptools.build_meta"'),
}
DECLARED = [("", each) for each in PROJECT["dependencies"]] + [
    (extra, each) for extra, group in PROJECT["optional-dependencies"].items() for each in group
]


def normalized(name: str) -> str:
    """Return the name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(requirement: str) -> str:
    """Return the distribution that a requirement asks for."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return normalized(found[0])


@cache
def modules_of() -> dict[str, set[str]]:
    """Return the top-level modules of each installed distribution; stubs count as the module that they describe."""
    modules: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for each in distributions:
            modules.setdefault(normalized(each), set()).add(module.removesuffix("-stubs"))
    return modules


def imported(*folders: str) -> dict[str, set[str]]:
    """Return the top-level modules that files of some folders import or look up by name, with the files."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for module, files in imported_in(folder).items():
            found[module] = found.get(module, set()) | files
    return found


@cache
def imported_in(folder: str) -> dict[str, set[str]]:
    """Return the same for one folder."""
    return used(path for path in sorted((ROOT / folder).rglob("*.py")) if TEMPLATE not in path.parents)


def used(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Return the top-level modules that some files import, also by ``find_spec`` or ``import_module``."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            for name in names(node):
                found.setdefault(name.partition(".")[0], set()).add(str(path))
    return found


def names(node: ast.AST) -> list[str]:
    """Return the full names of the modules that a node imports."""
    match node:
        case ast.Import(names=aliases):
            return [each.name for each in aliases]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]):
            return [name] if called in {"find_spec", "import_module", "importorskip"} else []
    return []


@pytest.mark.parametrize(("group", "requirement"), DECLARED, ids=[f"{group}:{each}" for group, each in DECLARED])
def test_a_declared_dependency_is_used(group: str, requirement: str) -> None:
    """It is imported in the folders that its group is for, or it is a tool that a file of ours runs."""
    name = distribution(requirement)
    if name in TOOLS:
        path, words = TOOLS[name]
        assert words in (ROOT / path).read_text()
    else:
        assert name in modules_of(), f"{name} is not installed"
        assert modules_of()[name] & imported(*FOLDERS[group]).keys(), f"nothing in {FOLDERS[group]} imports {name}"


def test_no_tool_is_listed_without_being_declared() -> None:
    """The list of tools above has nothing that pyproject.toml does not have."""
    assert TOOLS.keys() <= {distribution(each) for _, each in DECLARED}


def test_what_the_engine_imports_is_declared() -> None:
    """No module of the engine relies on a distribution that only comes along with another one."""
    declared = {distribution(each) for group, each in DECLARED if group != "dev"}
    own = {"surgetank", "topology", "schemas", "ops"}
    known = own.union(*(modules_of().get(each, set()) for each in declared))
    foreign = {
        name: files
        for name, files in imported(*ENGINE).items()
        if name not in known and name not in sys.stdlib_module_names
    }
    assert foreign == {}


def test_the_image_has_the_client_of_a_schema_registry() -> None:
    """Its workers take a registry without an install: the locked packages contain those of the extra ``registry``."""
    locked = {
        distribution(line) for line in (ROOT / "requirements/worker.txt").read_text().splitlines() if "==" in line
    }
    extra = [each for each in requires("confluent-kafka") or () if 'extra == "schemaregistry"' in each]
    wanted = {distribution(each) for each in extra if "python_version <" not in each}
    assert wanted
    assert wanted <= locked


def test_the_image_can_pull_from_a_registry_of_models() -> None:
    """A folder or a share is enough; object stores need the package of their protocol."""
    worker, dev = (
        {line for line in (ROOT / "requirements" / name).read_text().splitlines() if line.startswith("fsspec==")}
        for name in ("worker.txt", "dev.txt")
    )
    assert worker == dev != set()


def test_imports_are_found_in_every_form(tmp_path: Path) -> None:
    """Imports inside functions, of submodules and by name count; relative ones and mere text do not."""
    path = tmp_path / "a.py"
    path.write_text(
        "import os.path, b as c\nfrom d.e import f\nfrom . import g\n'''import h'''\n"
        "def i():\n    import j\n    importlib.import_module('k.l')\n    find_spec('m')\n    print('n')\n"
    )
    assert used([path]).keys() == {"os", "b", "d", "j", "k", "m"}
