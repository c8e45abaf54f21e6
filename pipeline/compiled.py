"""Compiles row-by-row loops to machine code with numba."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def compiled(signature: object = None) -> Callable[[Function], Function]:
    """Compile to machine code that runs without the GIL; cached on disk for later processes if possible.

    A function without a signature is compiled, and cached, as part of its caller.
    """
    compiler: Any = njit

    def of(function: Function) -> Function:
        if signature is None:
            return cast("Function", compiler(nogil=True)(function))
        try:
            return cast("Function", compiler(signature, nogil=True, cache=True)(function))
        except Exception as error:  # noqa: BLE001 - no folder, no space, or any error of a truncated cache file
            _log.warning(
                "%s is compiled at each start, which takes seconds: the cache of compiled code cannot be written or "
                "read (%r); set NUMBA_CACHE_DIR to a writable folder, or empty it",
                function.__qualname__,
                error,
            )
            return cast("Function", compiler(signature, nogil=True)(function))

    return of
