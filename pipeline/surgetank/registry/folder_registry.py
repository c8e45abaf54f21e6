"""A registry of models at any fsspec location: a folder, an object store, a file server.

``<root>/<name>/<version>/manifest.json`` makes a version; its other files are in ``<digest>/`` beside the manifest,
where the digest is the SHA-256 of the manifest. The files are written first and the manifest last, so that a version is
there with all its files or not at all, also in a store that cannot rename. Two publishers of one version never write
the same file with different contents, and only one of them can create the manifest.
"""

import os
import secrets
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from surgetank.errors import ModelError, RegistryError, SettingsError
from surgetank.registry.registry import Published, registry_answers, shown
from surgetank.serving.bundle import Bundle, Manifest, natural, parse_manifest, sha256
from surgetank.serving.bundle_files import MANIFEST, SIGNATURE, file_inside

_CREATING = threading.Lock()  # for stores in the memory of this process


class FolderRegistry:
    """The registry below a URL, as ``s3://bucket/models``, or a folder. Options of the store come from fsspec's.

    Raises SettingsError if fsspec does not know the store, or the package for it is not installed.
    """

    def __init__(self, url: str) -> None:
        self.where = shown(url)
        try:
            self._fs, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"the model registry {self.where} cannot be used: {shown(str(error))}") from None
        self._root = root.rstrip("/")

    def names(self) -> list[str]:
        """Return the models that have a version, in order. Raises RegistryError."""
        with self._answers("listing"):
            self._check_root()
            return sorted(name for name in self._children(self._root) if self.versions(name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, in order; empty if there is no such model. Raises RegistryError."""
        with self._answers("listing"):
            self._check_root()
            folder = f"{self._root}/{name}"
            found = [each for each in self._children(folder) if self._fs.exists(f"{folder}/{each}/{MANIFEST}")]
            return sorted(found, key=natural)

    def resolve(self, name: str, alias: str) -> str:
        """Raise ModelError: only MLflow has aliases."""
        raise ModelError(
            f"the model registry {self.where} has no aliases, and so no {name}@{alias}: name a version, there is: "
            f"{', '.join(self.versions(name)) or 'nothing'}"
        )

    def manifest(self, name: str, version: str) -> Manifest:
        """Return the manifest of a version. Raises ModelError if there is none, RegistryError."""
        return parse_manifest(self._manifest(name, version), f"{self.where}/{name}/{version}/{MANIFEST}")

    def published(self, name: str, version: str) -> Published:
        """Return creation time, digest, and whether there is a signature, which is not verified. Raises as above."""
        content = self._manifest(name, version)
        manifest, digest = parse_manifest(content, f"{self.where}/{name}/{version}/{MANIFEST}"), sha256(content)
        with self._answers("listing"):
            signed = bool(self._fs.exists(f"{self._root}/{name}/{version}/{digest}/{SIGNATURE}"))
        return Published(manifest.created, digest, signed)

    def fetch(self, name: str, version: str, folder: Path) -> None:
        """Write the files of a version into a folder. The caller verifies them.

        Raises ModelError if there is no such version, or one of its files is missing; RegistryError.
        """
        content = self._manifest(name, version)
        manifest = parse_manifest(content, f"{self.where}/{name}/{version}/{MANIFEST}")
        source = f"{self._root}/{name}/{version}/{sha256(content)}"
        with self._answers("reading"):
            for path in (*manifest.files, SIGNATURE):
                target = file_inside(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._fs.get_file(f"{source}/{path}", str(target))
                except FileNotFoundError:
                    if path != SIGNATURE:
                        raise ModelError(
                            f"model {name} {version} in the registry {self.where} lacks its file {path!r}; publish it "
                            "as another version"
                        ) from None
        (folder / MANIFEST).write_bytes(content)

    def publish(self, bundle: Bundle) -> bool:
        """Copy a verified bundle into the registry. False: the version is there already, with the same digest.

        Raises ModelError if the version is there with another content: a published version never changes.
        RegistryError: nothing was published, unless the message says that this is unknown.
        """
        name, version = bundle.name, bundle.version
        folder = f"{self._root}/{name}/{version}"
        with self._answers("writing"):
            self._fs.invalidate_cache()
            if self._fs.exists(f"{folder}/{MANIFEST}"):
                return self._accept_published(bundle)
            content = (bundle.folder / MANIFEST).read_bytes()
            if sha256(content) != bundle.digest:
                raise ModelError(f"model {name} {version} was changed in {bundle.folder} meanwhile; run it again")
            for path in (*bundle.manifest.files, *((SIGNATURE,) if bundle.signed else ())):
                self._upload(bundle.folder / path, f"{folder}/{bundle.digest}/{path}")
            try:
                self._create(f"{folder}/{MANIFEST}", content)
            except FileExistsError:
                return self._accept_published(bundle)
        return True

    def _accept_published(self, bundle: Bundle) -> bool:
        """Return False if the published version is this bundle; else remove its files and raise ModelError."""
        there = sha256(self._manifest(bundle.name, bundle.version))
        if there == bundle.digest:
            return False
        left = f"{self._root}/{bundle.name}/{bundle.version}/{bundle.digest}"
        if self._fs.exists(left):
            self._fs.rm(left, recursive=True)
        raise ModelError(
            f"model {bundle.name} {bundle.version} is in the registry {self.where} with another content (digest "
            f"{there[:12]}, this one is {bundle.digest[:12]}): a published version never changes; build it as another "
            "version"
        )

    def _upload(self, file: Path, path: str) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.put_file(str(file), path)
        size = file.stat().st_size
        if (there := self._fs.info(path)["size"]) != size:
            raise RegistryError(
                f"model registry {self.where}: {path} has {there} bytes instead of {size} after the upload; nothing "
                "was published"
            )

    def _create(self, path: str, content: bytes) -> None:
        """Create a file with all its content in one step. Raises FileExistsError if it exists, with other content too.

        In a store without such an operation two publishers of the same second may both believe that they succeeded; the
        content is that of one of them.
        """
        if isinstance(self._fs, LocalFileSystem):
            self._link(path, content)
            return
        with _CREATING:
            try:
                self._fs.pipe_file(path, content, mode="create")
            except (NotImplementedError, TypeError):  # a store that does not know the mode
                if self._fs.exists(path):
                    raise FileExistsError(path) from None
                self._fs.pipe_file(path, content)
            self._fs.invalidate_cache()
            if self._fs.cat_file(path) != content:
                raise FileExistsError(path)

    def _link(self, path: str, content: bytes) -> None:
        """Write a file under another name and link it: the file system refuses a second link of that name."""
        unfinished = f"{path}.{secrets.token_hex(4)}"
        try:
            with open(unfinished, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)

    def _manifest(self, name: str, version: str) -> bytes:
        with self._answers("reading"):
            self._check_root()
            try:
                content = self._fs.cat_file(f"{self._root}/{name}/{version}/{MANIFEST}")
            except FileNotFoundError:
                there = ", ".join(self.versions(name)) or "nothing"
                raise ModelError(
                    f"the model registry {self.where} has no version {version!r} of {name!r}; there is: {there}"
                ) from None
        return bytes(content)

    def _children(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; none if it does not exist."""
        try:
            found: list[dict[str, Any]] = self._fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        names = [each["name"].rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory"]
        return [name for name in names if not name.startswith(".")]

    def _check_root(self) -> None:
        """Raise RegistryError if the folder of a local registry is not there: its disk may not be mounted."""
        self._fs.invalidate_cache()
        if isinstance(self._fs, LocalFileSystem) and not self._fs.isdir(self._root):
            raise RegistryError(
                f"model registry {self.where}: the folder does not exist, or its disk is not mounted; the first "
                "`surgetank models publish` makes it"
            )

    def _answers(self, what: str) -> AbstractContextManager[None]:
        return registry_answers(self.where, what)
