"""surgetank.compiled: loops compiled to machine code, and kept for the next process."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numba.core.config
import numba.core.event
import pytest

from surgetank.compiled import MODULES

ROOT = Path(__file__).resolve().parents[2]
NO_FOLDER = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent/cache"}

SUMS = """
from numba import int64
from surgetank.compiled import compiled

@compiled()
def square(number):
    return number * number

@compiled(int64(int64))
def squares(number):
    total = 0
    for each in range(number):
        total += square(each)
    return total
"""


@contextmanager
def counted() -> Iterator[list[object]]:
    """Return a list to which each compilation adds an event."""
    found: list[object] = []

    class Listener(numba.core.event.Listener):
        def on_start(self, event: object) -> None:
            found.append(event)

        def on_end(self, event: object) -> None:
            pass

    with numba.core.event.install_listener("numba:compile", Listener()):
        yield found


def imported(folder: Path, name: str) -> ModuleType:
    """Return a module of the folder as a process that starts now would have it: run anew, with nothing in memory."""
    importlib.invalidate_caches()
    for each in folder.glob("*.py"):
        sys.modules.pop(each.stem, None)
    return importlib.import_module(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules without bytecode. Compiled code is kept beside a module, unless a test says where."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", "")
    yield tmp_path
    for each in tmp_path.glob("*.py"):
        sys.modules.pop(each.stem, None)


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_what_was_kept_and_cut_short_is_compiled_again(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that lost its power may leave empty files: the next process says so, and computes the same."""
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(folder / "kept"))
    (folder / "sums.py").write_text(SUMS)
    with counted() as compiled:
        assert imported(folder, "sums").squares(4) == 14
    assert compiled
    with counted() as compiled:
        assert imported(folder, "sums").squares(4) == 14
    assert (compiled, caplog.text) == ([], "")
    (cut,) = (folder / "kept").rglob(f"*.{kind}")  # square is a part of squares
    cut.write_bytes(b"")
    assert imported(folder, "sums").squares(4) == 14
    assert "squares is compiled at each start" in caplog.text


def test_every_module_that_keeps_code_is_compiled_at_install() -> None:
    """`python -m surgetank.compiled` knows every module in which something is compiled with a signature."""
    found = {
        ".".join(path.relative_to(ROOT / "pipeline").with_suffix("").parts)
        for path in (ROOT / "pipeline").rglob("*.py")
        if re.search(r"^@compiled\([^)]", path.read_text(), re.MULTILINE)
    }
    assert set(MODULES) == found


PARTS = """
from surgetank.compiled import compiled

STEP = 1

@compiled()
def step(number):
    return number + STEP
"""
WHOLE = """
from numba import int64
from limits import LIMIT
from parts import step
from surgetank.compiled import compiled

@compiled(int64(int64))
def steps(number):
    return step(number) + LIMIT

"""


def ran(folder: Path, *, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that finds the folder's modules first."""
    path = os.pathsep.join([str(folder), str(folder / "pipeline"), str(ROOT), *filter(None, sys.path)])
    others = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment = others | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


def test_code_is_compiled_again_when_anything_that_went_into_it_has_changed(folder: Path) -> None:
    """A function that it calls, or a number from another module, is a part of it: no old code runs in their place."""
    (folder / "whole.py").write_text(WHOLE)
    for step, limit, steps in ((1, 10, 12), (5, 10, 16), (5, 20, 26)):
        (folder / "parts.py").write_text(PARTS.replace("STEP = 1", f"STEP = {step}"))
        (folder / "limits.py").write_text(f"LIMIT = {limit}")
        assert imported(folder, "whole").steps(1) == steps
    with counted() as compiled:
        assert imported(folder, "whole").steps(1) == 26
    assert compiled == []


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the engine in which everything was compiled by the command, and which is then made read-only.

    The command finds what the project's own folder holds already, if it was installed: code belongs to its sources.
    """
    for name in ("pipeline", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    made = ran(tmp_path, code="from surgetank import compiled; raise SystemExit(compiled.main())", **NO_FOLDER)
    assert made.stdout == "compiled: all loops are kept for the next process\n"
    return tmp_path


# As root one may write everywhere: where a folder is read-only, numba's attempt to write a file raises this.
READ_ONLY = """
import errno, tempfile
def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")
tempfile.TemporaryFile = refuse
import builtins
opened = builtins.open
def guarded(file, mode="r", *rest, **others):
    return refuse() if any(letter in mode for letter in "wax+") else opened(file, mode, *rest, **others)
builtins.open = guarded
"""
COUNTED = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
"""
ALL = """
import surgetank.compiled
for module in surgetank.compiled.MODULES:
    __import__(module)
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
encoder = AvroSerializer(project_schemas(), "score")
import pyarrow as pa
none = encoder.serialize(pa.RecordBatch.from_pylist([], schema=encoder.schema))
assert AvroDeserializer(project_schemas(), "score", value_bytes_max=99).deserialize_values(none)[0].num_rows == 0
print(len(compiled))
"""
# The module that is compiled fastest stands for all: what happens without kept code is decided by the decorator.
ONE = """
import numpy as np
from surgetank.state.sparse_serde import SparseSerde
serde, rows = SparseSerde(np.zeros(3)), np.array([[1.0, 0.0, 2.0]])
assert serde.unpack(serde.pack(rows, 7)).tolist() == rows.tolist()
print(len(compiled))
"""


def test_an_installation_that_is_read_only_starts_without_compiling(installed: Path) -> None:
    """Where no folder can be written and there is no home, what the command compiled is used."""
    run = ran(installed, code=READ_ONLY + COUNTED + ALL, **NO_FOLDER)
    assert (run.stdout, run.stderr) == ("0\n", "")


def test_a_read_only_installation_that_was_not_compiled_says_so_and_works(tmp_path: Path) -> None:
    """Without kept code each start compiles, and a warning says what to do."""
    for name in ("pipeline", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    run = ran(tmp_path, code=READ_ONLY + COUNTED + ONE, **NO_FOLDER)
    assert int(run.stdout) > 0
    assert "is compiled at each start" in run.stderr
    assert "set NUMBA_CACHE_DIR" in run.stderr
