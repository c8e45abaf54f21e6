"""Compiles the loops that go row by row to machine code, by numba."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def compiled(signature: object = None) -> Callable[[Function], Function]:
    """Compile to machine code that runs without the GIL; kept on disk for the next process where that can be.

    What is compiled without a signature is a part of what calls it, and kept with that.
    """
    compiler: Any = njit

    def of(function: Function) -> Function:
        if signature is None:
            return cast("Function", compiler(nogil=True)(function))
        try:
            return cast("Function", compiler(signature, nogil=True, cache=True)(function))
        except Exception as error:  # noqa: BLE001 - no folder, no room, or whatever a file that was cut short raises
            _log.warning(
                "%s is compiled at each start, some seconds: compiled code cannot be kept, or what was kept cannot be "
                "read (%r); set NUMBA_CACHE_DIR to a folder that can be written, or empty it",
                function.__qualname__,
                error,
            )
            return cast("Function", compiler(signature, nogil=True)(function))

    return of
