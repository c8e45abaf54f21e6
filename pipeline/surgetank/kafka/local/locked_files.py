"""Files of a Maven repository, pinned by a lock file: downloaded, verified, and kept one by one.

A lock file has the format of ``sha256sum``: a checksum and the path of the file in a repository, which says its group,
artifact and version. ``sha256sum --check`` verifies a repository by it.
"""

import fcntl
import hashlib
import http.client
import os
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from surgetank.errors import StartupError
from surgetank.kafka.local.maven_repository import MIRROR, MavenRepository

_CONNECTIONS = 4
_TIMEOUT_SECONDS = 20.0
_PAUSES_SECONDS = (0.5, 2.0)  # before the second and the third attempt
_BUSY = {408, 429, 500, 502, 503, 504}
_KEPT = "What is complete is kept; the next attempt fetches the rest"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file by its path in a repository, and the SHA-256 checksum of its content in hexadecimal digits."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """The name of the file without folders."""
        return self.path.rpartition("/")[2]


def read_lock(lock: Path) -> tuple[LockedFile, ...]:
    """Return the files that a lock file pins."""
    lines = (line.split() for line in lock.read_text(encoding="ascii").splitlines())
    return tuple(LockedFile(path, checksum) for checksum, path in lines)


def download(
    files: Sequence[LockedFile],
    folder: Path,
    local: Path,
    repository: MavenRepository,
    pauses: Sequence[float] = _PAUSES_SECONDS,
) -> None:
    """Put these files into a folder: from the local repository of this machine, else from a remote one.

    A file gets its name when it is complete and its checksum is right. One process at a time writes to the folder;
    the others wait and then find the files. A failed connection, a cut transfer and an overloaded server are tried
    again after each of the pauses (seconds).

    Raises StartupError with the address and what to do if a file cannot be had, and OSError if the folder cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), ThreadPoolExecutor(_CONNECTIONS) as pool:
        missing = [file for file in files if not (folder / file.name).exists()]
        started = [pool.submit(_fetch, file, folder, local, repository, pauses) for file in missing]
        try:
            for done in as_completed(started):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(file: LockedFile, folder: Path, local: Path, repository: MavenRepository, pauses: Sequence[float]) -> None:
    content = _read(local / file.path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        content = _transferred(repository, file.path, pauses)
        _check(content, file, repository)
    _write(content, folder / file.name)


def _read(path: Path) -> bytes:
    """Return the content of a file, nothing if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _transferred(repository: MavenRepository, path: str, pauses: Sequence[float]) -> bytes:
    request = repository.request(path)
    for pause in (*pauses, None):
        try:
            with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                content: bytes = response.read()
                return content
        except (OSError, http.client.HTTPException) as error:
            if pause is None or not _passes(error):
                raise StartupError(f"{request.full_url} cannot be downloaded: {_explained(error)}") from None
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _passes(error: Exception) -> bool:
    """Return whether another attempt may succeed."""
    if isinstance(error, HTTPError):
        return error.code in _BUSY
    return not isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)


def _explained(error: Exception) -> str:
    """Return the reason of a failed download and what to do."""
    if isinstance(error, HTTPError):
        said = f"the server answers {error.code} {error.reason}."
        if error.code in {401, 403, 407}:
            return f"{said} {MIRROR}, with user and password if it asks for them"
        if error.code not in _BUSY:
            return f"{said} The address must be that of Maven Central or of a mirror that has all of it. {MIRROR}"
        return f"{said} Try again later. {_KEPT}"
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{reason.verify_message}. Set SSL_CERT_FILE to a file with the certificates of trusted authorities"
    said = str(reason) or type(reason).__name__
    return f"{said}. Check the network, and https_proxy if there is a proxy. Behind a mirror: {MIRROR}. {_KEPT}"


def _check(content: bytes, file: LockedFile, repository: MavenRepository) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise StartupError(
            f"{repository.request(file.path).full_url} is not the file that is pinned, and is not used: its SHA-256 "
            f"checksum is {found}, not {file.sha256}. A proxy or mirror on the way answers with other content. {MIRROR}"
        )


def _write(content: bytes, path: Path) -> None:
    """Write a file that is complete or absent, also after a power failure."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as scratch:
        try:
            scratch.write(content)
            scratch.flush()
            os.fsync(scratch.fileno())
            os.chmod(scratch.name, 0o644)
            os.replace(scratch.name, path)
        except BaseException:
            os.unlink(scratch.name)
            raise
