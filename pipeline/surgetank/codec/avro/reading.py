"""Parts of Avro values read from memory: varints, texts, decimals. Compiled into the loops."""

from typing import Any

from surgetank.codec.avro.faults import OVER_64_BITS, TOO_MANY_BYTES, TRUNCATED
from surgetank.codec.avro.memory import load8, load64, store8, store64
from surgetank.compiled import compiled

_HIGH_BITS = -0x7F7F7F7F7F7F7F80  # the highest bit of each byte of a word
_POSITIVE = 0x7FFFFFFFFFFFFFFF
_SIGN = -0x8000000000000000


@compiled()
def varint(at: int, end: int) -> tuple[int, int]:
    """Read a zigzag varint; return the number and the address behind it, or minus the fault.

    Zeros that pad a number to at most ten bytes are no fault.
    """
    zigzag = 0
    shift = 0
    while at < end:
        byte = load8(at)
        at += 1
        if shift == 63 and byte > 1:
            return 0, (-OVER_64_BITS if byte < 0x80 else -TOO_MANY_BYTES)
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            return ((zigzag >> 1) & _POSITIVE) ^ -(zigzag & 1), at
        shift += 7
    return 0, -TRUNCATED


@compiled()
def copied(source: int, target: int, count: int, readable: int) -> int:
    """Copy bytes; return a number that is not 0 if any of them is not ASCII.

    Up to seven bytes behind them are overwritten. ``readable`` is the end of the memory that may be read.
    """
    seen = 0
    done = 0
    while done + 8 <= count:
        word = load64(source + done)
        store64(target + done, word)
        seen |= word
        done += 8
    left = count - done
    if left > 0:
        if source + done + 8 <= readable:
            word = load64(source + done)
            store64(target + done, word)
            seen |= word & ((1 << (8 * left)) - 1)
        else:
            while done < count:
                byte = load8(source + done)
                store8(target + done, byte)
                seen |= byte
                done += 1
    return seen & _HIGH_BITS


@compiled()
def is_utf8(at: int, end: int) -> bool:
    """Return whether bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF."""
    while at < end:
        head = load8(at)
        at += 1
        if head < 0x80:
            continue
        if head < 0xC2 or head > 0xF4:
            return False
        low, high = 0x80, 0xBF
        if head < 0xE0:
            more = 1
        elif head < 0xF0:
            more = 2
            if head == 0xE0:
                low = 0xA0
            elif head == 0xED:
                high = 0x9F
        else:
            more = 3
            if head == 0xF0:
                low = 0x90
            elif head == 0xF4:
                high = 0x8F
        if at + more > end:
            return False
        second = load8(at)
        if second < low or second > high:
            return False
        for i in range(1, more):
            if load8(at + i) & 0xC0 != 0x80:
                return False
        at += more
    return True


@compiled()
def read_decimal(at: int, count: int, target: int, width: int, limit: Any) -> bool:
    """Write big-endian bytes, a two's complement, as the ``width`` little-endian bytes of an Arrow decimal.

    Return False if the number is not between minus and plus ``limit``, int64 [4], the lowest 64 bits first, exclusive.
    """
    sign = 0xFF if count > 0 and load8(at) >= 0x80 else 0
    last = at + count - 1
    for j in range(width):
        store8(target + j, load8(last - j) if j < count else sign)
    for j in range(width, count):
        if load8(last - j) != sign:
            return False
    if (load8(target + width - 1) >= 0x80) != (sign > 0):
        return False
    return magnitude_below(target, width, limit)


@compiled()
def magnitude_below(source: int, width: int, limit: Any) -> bool:
    """Return whether the absolute value of a little-endian two's complement is below ``limit``."""
    negative = load8(source + width - 1) >= 0x80
    carry = 1
    below = False
    for word in range(width // 8):
        bits = load64(source + 8 * word)
        if negative:
            bits = ~bits + carry
            if bits != 0:
                carry = 0
        if bits != limit[word]:
            below = (bits ^ _SIGN) < (limit[word] ^ _SIGN)  # compared as numbers without a sign
    return below
