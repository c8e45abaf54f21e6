"""Headers as the compiled loop of the consumer writes them."""

import struct

_LENGTH = struct.Struct("<i")


def decode_headers(encoded: bytes) -> list[tuple[str, bytes | None]]:
    """Return the headers that the compiled loop wrote.

    Of each header these are the length of its name, the name, the length of its value and the value. Lengths are
    little-endian int32; that of a null value is -1. Bytes of a name that are not UTF-8 become surrogates
    (``surrogateescape``).
    """
    headers: list[tuple[str, bytes | None]] = []
    at = 0
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        name = encoded[at : at + length].decode(errors="surrogateescape")
        at += length
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        headers.append((name, None if length < 0 else encoded[at : at + length]))
        at += max(length, 0)
    return headers
