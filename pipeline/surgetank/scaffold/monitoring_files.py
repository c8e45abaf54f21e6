"""The rules, dashboards and runbooks that come with an installation."""

import shutil
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import surgetank
from surgetank.errors import StartupError
from surgetank.scaffold.secured_monitoring import SECURED, with_access
from surgetank.settings import HttpSettings

FOLDERS = ("alertmanager", "grafana/dashboards", "prometheus", "runbooks")
_INSTALLED = "share/surgetank/ops/"


def monitoring_files() -> dict[str, Path]:
    """Return the files by their path in a project's folder ``ops``: of the package, else of the repository.

    Raises StartupError if this installation has none of them.
    """
    found = _of_package() or _of_repository(Path(str(surgetank.__file__)).parents[2] / "ops")
    if not found:
        raise StartupError("this installation has no rules and runbooks: install the package with pip")
    return found


def write_monitoring_files(folder: Path, http: HttpSettings) -> list[str]:
    """Write the files below a folder, over older ones; return their paths, sorted. Raises StartupError.

    Prometheus and Alertmanager use token and TLS where these settings have them (`secured_monitoring`).
    """
    found = monitoring_files()
    try:
        for name, path in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
            if name in SECURED:
                text = (folder / name).read_text(encoding="utf-8")
                (folder / name).write_text(with_access(name, text, http), encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return sorted(found)


def _of_package() -> dict[str, Path]:
    try:
        installed = files("surgetank") or ()
    except PackageNotFoundError:  # the source folder is on the import path, as in the image
        return {}
    return {
        str(file).partition(_INSTALLED)[2]: Path(str(file.locate())) for file in installed if _INSTALLED in str(file)
    }


def _of_repository(ops: Path) -> dict[str, Path]:
    return {
        path.relative_to(ops).as_posix(): path
        for folder in FOLDERS
        for path in sorted((ops / folder).rglob("*"))
        if path.is_file()
    }
