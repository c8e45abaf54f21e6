"""Loads and stores at an address, for compiled loops that read and write the buffers of Arrow arrays in place.

Nothing is checked: the caller knows that the bytes are there. Numbers are little-endian and may be unaligned.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _pointer(builder: Any, address: Any, bits: int) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _load(bits: int) -> Callable[..., Any]:
    def load(_typing: Any, _address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            loaded = builder.load(_pointer(builder, arguments[0], bits), align=1)
            extend = builder.zext if bits == 8 else builder.sext
            return loaded if bits == 64 else extend(loaded, ir.IntType(64))

        return types.int64(types.int64), generate

    return load


def _store(bits: int) -> Callable[..., Any]:
    def store(_typing: Any, _address: Any, _number: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, number = arguments
            cut = number if bits == 64 else builder.trunc(number, ir.IntType(bits))
            builder.store(cut, _pointer(builder, address, bits), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return store


# int64(address): the byte there (0 to 255), or the int32 or int64 there.
load8: Any = intrinsic(_load(8))
load32: Any = intrinsic(_load(32))
load64: Any = intrinsic(_load(64))
# void(address, number): write the lowest 8, 32 or 64 bits of the number.
store8: Any = intrinsic(_store(8))
store32: Any = intrinsic(_store(32))
store64: Any = intrinsic(_store(64))
