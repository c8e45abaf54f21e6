"""The files of a bundle: their paths stay inside its folder, and their content has the checksums of the manifest."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from surgetank.errors import ModelError

MANIFEST = "manifest.json"
MODEL = "model.onnx"
SIGNATURE = "model.sig"  # covers all other files of the folder, so that the manifest cannot list it
UNLISTED = frozenset({MANIFEST, SIGNATURE})


def path_fault(path: str) -> str:
    """Return why a path cannot be that of a file of a bundle, or ''. Pure.

    It must be relative, with slashes, without ``..``, and in normal form, so that two paths are not one file.
    """
    if not path:
        return "is empty"
    if "\\" in path or "\0" in path:
        return "has a character that is not allowed"
    if PurePosixPath(path).is_absolute():
        return "is absolute"
    if ".." in PurePosixPath(path).parts:
        return "leaves the folder of the bundle"
    if PurePosixPath(path).as_posix() != path or path == ".":
        return "is not in its shortest form"
    return ""


def folder_fault(name: str) -> str:
    """Return why a name or version of a model cannot be the name of a folder, or ''. Pure."""
    if name.startswith(".") or "/" in name or path_fault(name):
        return f"{name!r} cannot be the name of a folder: no slash, and no dot at the beginning"
    return ""


def file_inside(folder: Path, path: str) -> Path:
    """Return the file of a path in a folder. The file need not exist.

    Raises ModelError if the path, or a symbolic link on it, leads out of the folder.
    """
    if fault := path_fault(path):
        raise ModelError(f"model bundle {folder}: the path {path!r} {fault}; a bundle has only files in its own folder")
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"model file {file} is a symbolic link out of the bundle, to {file.resolve()}; replace it by the file"
        )
    return file


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file as hex. Raises ModelError if it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"model file {file}: {error.strerror}") from None


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise ModelError, naming the first file, unless each file is in the folder and has its SHA-256."""
    for path, expected in files.items():
        file = file_inside(folder, path)
        if checksum(file) != expected:
            raise ModelError(
                f"model file {file} has not the checksum of its manifest: it is damaged, cut short or was exchanged; "
                "restore the bundle"
            )


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by path, the model first, then in the order of the paths.

    Manifest and signature are left out. Raises ModelError for a symbolic link that leads out of the folder.
    """
    paths = sorted(
        (Path(parent) / name).relative_to(folder).as_posix() for parent, _, names in os.walk(folder) for name in names
    )
    listed = sorted((path for path in paths if path not in UNLISTED), key=lambda path: path != MODEL)
    return {path: checksum(file_inside(folder, path)) for path in listed}
