"""Parts of Avro values written to memory: varints, decimals. Compiled into the loop that encodes."""

from surgetank.codec.avro.memory import load8, store8
from surgetank.compiled import compiled


@compiled()
def write_varint(at: int, number: int) -> int:
    """Write a zigzag varint in the least bytes, at most ten; return the address behind it."""
    zigzag = (number << 1) ^ (number >> 63)
    while zigzag & -0x80:
        store8(at, (zigzag & 0x7F) | 0x80)
        at += 1
        zigzag = (zigzag >> 7) & 0x01FFFFFFFFFFFFFF
    store8(at, zigzag)
    return at + 1


@compiled()
def decimal_bytes(source: int, width: int) -> int:
    """Return how many bytes an Arrow decimal takes as a two's complement: those of its absolute value and a sign."""
    negative = load8(source + width - 1) >= 0x80
    carry = 1
    top = 0  # the highest byte of the absolute value that is not 0, and its place
    place = 0
    for j in range(width):
        byte = load8(source + j)
        if negative:
            byte = (byte ^ 0xFF) + carry
            carry = byte >> 8
            byte &= 0xFF
        if byte:
            top = byte
            place = j
    return place + (2 if top >= 0x80 else 1)


@compiled()
def write_decimal(source: int, width: int, at: int, size: int) -> int:
    """Write an Arrow decimal as a big-endian two's complement of ``size`` bytes; return the address behind it."""
    sign = 0xFF if load8(source + width - 1) >= 0x80 else 0
    for j in range(size):
        place = size - 1 - j
        store8(at + j, load8(source + place) if place < width else sign)
    return at + size
