"""Compiles the loops that go row by row to machine code, by numba."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def compiled(signature: object = None) -> Callable[[Function], Function]:
    """Compile to machine code that runs without the GIL; kept on disk for the next process where that can be."""
    compiler: Any = njit

    def of(function: Function) -> Function:
        try:
            return cast("Function", compiler(signature, nogil=True, cache=True)(function))
        except RuntimeError as error:
            _log.warning("%s is compiled at each start, some seconds; set NUMBA_CACHE_DIR: %s", function, error)
            return cast("Function", compiler(signature, nogil=True)(function))

    return of
