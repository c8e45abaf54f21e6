"""Writes the folder of a new project from the template, which is a project itself, with the names below."""

import keyword
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from surgetank.declaration import check_pipeline_name
from surgetank.errors import StartupError, TopologyError
from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.local.cluster_layout import new_cluster_id

TEMPLATE = Path(__file__).with_name("template")
_LEFT_OUT = "__pycache__"  # pip compiles all Python files of a package
_BINARY = ".onnx"


def new_project(name: str, folder: Path) -> list[Path]:
    """Write the project of a pipeline of this name into a folder, which is made; return the files, relative to it.

    Its local Kafka has a port of its own. Raises TopologyError for a name that is none of a pipeline or module,
    StartupError if the folder is not empty or cannot be written, or no port is free.
    """
    check_pipeline_name(name)
    module = name.replace("-", "_")
    if keyword.iskeyword(module):
        raise TopologyError(
            f"pipeline name {name!r} is a word of Python's own, which no module can have; choose another"
        )
    words = {
        "my-fraud": name,
        "my_fraud": module,
        "27182": str(free_ports(2)),
        "c3VyZ2V0YW5rLW5ldy0tLQ": new_cluster_id(uuid.uuid4()),
    }
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StartupError(f"{folder} exists and is no empty folder; name another with --folder")
        return [_written(path, folder, words) for path in template_files()]
    except OSError as error:
        raise StartupError(f"{error.filename or folder} cannot be written: {error.strerror}") from None


def template_files() -> list[Path]:
    """Return the files of the template, sorted."""
    return sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and _LEFT_OUT not in path.parts)


def _written(path: Path, folder: Path, words: Mapping[str, str]) -> Path:
    relative = Path(_replaced(path.relative_to(TEMPLATE).as_posix(), words))
    content = path.read_bytes()
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if path.suffix == _BINARY else _replaced(content.decode(), words).encode())
    return relative


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """Return the text with each word replaced, in one pass: what was put in is not searched again."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
