"""Compiles loops that go row by row to machine code, by numba, and keeps the code on disk for the next process.

``python -m pipeline.compiled`` compiles everything that is not kept yet: run it once after an install, and when an
image is built. A process then finds the code, also where it may not write: beside its module (``__pycache__``) or in
NUMBA_CACHE_DIR. Kept code is used as long as nothing that went into it has changed: its own file, the files of what
it calls, and the numbers that these take from other modules.
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

# Every module that has a function with a signature; a test holds the list to the tree.
MODULES = (
    "pipeline.codec.compiled.arena",
    "pipeline.codec.compiled.decode_loop",
    "pipeline.codec.compiled.encode_loop",
    "pipeline.codec.compiled.frames",
    "pipeline.features.windows",
    "pipeline.kafka.columnar.producer",
    "pipeline.kafka.columnar.walk",
    "pipeline.state.sparse_serde",
)

_log = logging.getLogger("pipeline.compiled")


def compiled(signature: object = None) -> Callable[[Function], Function]:
    """Compile to machine code that runs without the GIL; kept on disk for the next process where that can be.

    What is compiled without a signature is a part of what calls it, and kept with that.
    """

    def of(function: Function) -> Function:
        dispatcher: Any = njit(nogil=True)(function)
        if signature is None:
            return cast("Function", dispatcher)
        try:
            dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
            dispatcher.compile(signature)
        except Exception as error:  # noqa: BLE001 - no folder, or whatever a file that was cut short raises
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
    """Says where code is kept, also where it can only be read, and what it was made of.

    numba itself takes no folder that it cannot write, and looks at the file of the function alone.
    """

    _function: Callable[..., Any]

    def get_source_stamp(self) -> str:
        """Return a hash of all that goes into the code."""
        digest = hashlib.sha256()
        for part in sorted(set(_ingredients(self._function, set()))):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """Return the locator, or None if its folder can neither be written nor has code of the function."""
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
    """In NUMBA_CACHE_DIR."""


class _InTree(_Locator, caching.InTreeCacheLocator):
    """Beside the module."""


class _OfUser(_Locator, caching.UserWideCacheLocator):
    """In the user's folder for caches."""


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Given, _InTree, _OfUser]


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code; a folder that cannot be written costs nothing but the next compilation."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _warn(self._py_func, error)


def _ingredients(function: Callable[..., Any], seen: set[int]) -> Iterator[str]:
    """Yield the source of a function's file and of those of what it calls, and the constants that they name."""
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
    """Compile all that is not kept yet; return the exit code: 1 if something cannot be kept, else 0."""
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
