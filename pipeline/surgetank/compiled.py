"""Compiles row-by-row loops to machine code with numba, and caches the code on disk for the next process.

``python -m surgetank.compiled`` compiles everything that is not cached yet: run it once after an install, and when an
image is built. A process then finds the code even in read-only folders: beside its module (``__pycache__``) or in
NUMBA_CACHE_DIR. Cached code is valid while its inputs are unchanged: the function's file, the files of the compiled
functions that it calls, and the constants that these use from other modules.
"""

import hashlib
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import caching, config

Function = TypeVar("Function", bound=Callable[..., Any])

# Every module that has a function with a signature; a test compares the list with the source tree.
MODULES = (
    "surgetank.codec.avro.arena",
    "surgetank.codec.avro.container_loop",
    "surgetank.codec.avro.decode_loop",
    "surgetank.codec.avro.encode_loop",
    "surgetank.codec.avro.frames",
    "surgetank.codec.json.decode_loop",
    "surgetank.features.decimals",
    "surgetank.features.windows",
    "surgetank.header_columns",
    "surgetank.kafka.columnar.producer",
    "surgetank.kafka.columnar.walk",
    "surgetank.serving.key_share",
    "surgetank.serving.prediction_cache.row_table",
    "surgetank.serving.row_order",
    "surgetank.serving.trees.loops",
    "surgetank.state.key_hash",
    "surgetank.state.row_cache",
    "surgetank.state.sparse_serde",
)

_log = logging.getLogger("surgetank.compiled")


def compiled(signature: object = None) -> Callable[[Function], Function]:
    """Compile to machine code that runs without the GIL; cache it on disk for the next process where possible.

    A function compiled without a signature becomes a part of its callers and is cached with them.
    """

    def of(function: Function) -> Function:
        dispatcher: Any = njit(nogil=True)(function)
        if signature is None:
            return cast("Function", dispatcher)
        try:
            dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
            dispatcher.compile(signature)
        except Exception as error:  # noqa: BLE001 - no cache folder, or any error from a truncated cache file
            _warn(function, error)
            dispatcher = njit(nogil=True)(function)
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast("Function", dispatcher)

    return of


def _warn(function: Callable[..., Any], error: Exception) -> None:
    _log.warning(
        "%s is compiled at each start, some seconds: compiled code cannot be kept, or what was kept cannot be "
        "read (%r); set NUMBA_CACHE_DIR to a folder that can be written, or empty it",
        function.__qualname__,
        error,
    )


class _Locator(caching._CacheLocator):
    """Locates cached code, including read-only folders, and hashes all its sources.

    numba's own locators reject folders that are not writable, and check only the function's own file.
    """

    _function: Callable[..., Any]

    def get_source_stamp(self) -> str:
        """Return a hash of all inputs of the compiled code."""
        digest = hashlib.sha256()
        for part in sorted(set(_ingredients(self._function, set()))):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """Return the locator; None if its folder is not writable and has no cached code of the function."""
        if not Path(py_file).exists() or (cls is _Given and not config.CACHE_DIR):  # type: ignore[attr-defined]
            return None
        build: Any = cls
        locator: Any = build(py_func, py_file)
        locator._function = py_func
        try:
            locator.ensure_cache_path()
        except OSError:
            name = f"{Path(py_file).stem}.{py_func.__qualname__}-{locator.get_disambiguator()}.*.nbi"
            return locator if any(Path(locator.get_cache_path()).glob(name)) else None
        return locator


class _Given(_Locator, caching.UserProvidedCacheLocator):
    """Locates code in NUMBA_CACHE_DIR."""


class _InTree(_Locator, caching.InTreeCacheLocator):
    """Locates code beside the module."""


class _OfUser(_Locator, caching.UserWideCacheLocator):
    """Locates code in the user's cache folder."""


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Given, _InTree, _OfUser]


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the code; log a warning if the folder is not writable."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _warn(self._py_func, error)


def _ingredients(function: Callable[..., Any], seen: set[int]) -> Iterator[str]:
    """Yield the sources of the files of a function and of its compiled callees, and the constants that they use."""
    seen.add(id(function))
    yield Path(inspect.getfile(function)).read_text()
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        called = getattr(value, "py_func", None) or getattr(value, "_defn", None)  # compiled, or an intrinsic
        if called is not None:
            if id(called) not in seen:
                yield from _ingredients(called, seen)
        elif isinstance(value, bool | int | float | str | tuple):
            yield f"{name} = {value!r}"


def main() -> int:
    """Compile everything that is not cached yet; return the exit code: 1 if caching failed, else 0."""
    handler = _Count()
    _log.addHandler(handler)
    for module in MODULES:
        importlib.import_module(module)
    if not handler.warnings:
        print("compiled: all loops are kept for the next process")
    return 1 if handler.warnings else 0


class _Count(logging.StreamHandler[Any]):
    """Writes warnings to stderr and counts them."""

    warnings = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings += 1
        super().emit(record)


if __name__ == "__main__":
    raise SystemExit(main())
