"""Parts of JSON texts read from memory: white space, strings, escapes, base64. Compiled into the loop."""

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np

from surgetank.codec.avro.memory import load8, load64, store8
from surgetank.codec.avro.reading import is_utf8
from surgetank.codec.json.faults import BAD_ESCAPE, CONTROL_CHARACTER, ENDS_EARLY, GOOD, NOT_UTF8
from surgetank.compiled import compiled

QUOTE = 0x22
BACKSLASH = 0x5C
_U = 0x75

_HIGH_BITS = -0x7F7F7F7F7F7F7F80  # the highest bit of each byte of a word
_ONES = 0x0101010101010101  # 1 in each byte
_SPACES = 0x20 * _ONES
_QUOTES = QUOTE * _ONES
_BACKSLASHES = BACKSLASH * _ONES


# The number that each byte stands for in base64, -1 if none. A look-up: comparisons of random letters are mispredicted.
_DIGITS: Any = np.full(256, -1, dtype=np.int64)
_DIGITS[np.frombuffer(f"{ascii_uppercase}{ascii_lowercase}{digits}+/".encode(), dtype=np.uint8)] = np.arange(64)


@compiled()
def after_space(at: int, end: int) -> int:
    """Return the address of the next byte that is not white space, or ``end``."""
    while at < end:
        byte = load8(at)
        if byte != 0x20 and byte != 0x0A and byte != 0x0D and byte != 0x09:
            break
        at += 1
    return at


@compiled()
def same_bytes(one: int, other: int, count: int) -> bool:
    """Return whether as many bytes at two addresses are the same."""
    done = 0
    while done + 8 <= count:
        if load64(one + done) != load64(other + done):
            return False
        done += 8
    while done < count:
        if load8(one + done) != load8(other + done):
            return False
        done += 1
    return True


@compiled()
def _is_plain(word: int) -> bool:
    """Return whether none of eight bytes is a quotation mark, a backslash or a control character."""
    quotes = word ^ _QUOTES
    backslashes = word ^ _BACKSLASHES
    found = ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes) | ((word - _SPACES) & ~word)
    return (found & _HIGH_BITS) == 0


@compiled()
def text_end(at: int, end: int) -> tuple[int, int, bool]:
    """Return the address of the quotation mark that ends a text, GOOD, and whether the text has escapes.

    ``at`` is the address behind the opening mark. If the text is not valid, return where, the fault and False. Halves
    of surrogate pairs are valid here.
    """
    begin = at
    foreign = 0
    escaped = False
    while True:
        if at + 8 <= end:
            word = load64(at)
            if _is_plain(word):
                foreign |= word & _HIGH_BITS
                at += 8
                continue
        stop = min(at + 8, end)
        while at < stop:
            byte = load8(at)
            if byte == QUOTE:
                if foreign != 0 and not is_utf8(begin, at):
                    return begin, NOT_UTF8, False
                return at, GOOD, escaped
            if byte < 0x20:
                return at, CONTROL_CHARACTER, False
            if byte == BACKSLASH:
                size = _escape_size(at, end)
                if size == 0:
                    return at, BAD_ESCAPE, False
                escaped = True
                at += size
            else:
                foreign |= byte & 0x80
                at += 1
        if at >= end:
            return end, ENDS_EARLY, False


@compiled()
def _escape_size(at: int, end: int) -> int:
    """Return the number of bytes of the escape sequence at an address, 0 if it is none."""
    if at + 2 > end:
        return 0
    if load8(at + 1) == _U:
        return 6 if at + 6 <= end and _hexadecimal(at + 2) >= 0 else 0
    return 2 if _escaped(load8(at + 1)) >= 0 else 0


@compiled()
def _escaped(letter: int) -> int:
    r"""Return the character that a letter behind a backslash stands for, -1 if none. Not for ``\u``."""
    if letter == QUOTE or letter == BACKSLASH or letter == 0x2F:
        return letter
    if letter == 0x6E:  # n
        return 0x0A
    if letter == 0x74:  # t
        return 0x09
    if letter == 0x72:  # r
        return 0x0D
    if letter == 0x62:  # b
        return 0x08
    if letter == 0x66:  # f
        return 0x0C
    return -1


@compiled()
def _hexadecimal(at: int) -> int:
    """Return the number of four hexadecimal digits, -1 if they are none."""
    number = 0
    for i in range(4):
        byte = load8(at + i)
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x61 <= (byte | 0x20) <= 0x66:
            digit = (byte | 0x20) - 0x57
        else:
            return -1
        number = 16 * number + digit
    return number


@compiled()
def unescaped(at: int, close: int, target: int) -> tuple[int, int]:
    """Write the text between two addresses, with valid escapes, as UTF-8; it takes no more bytes than it has there.

    Return the address behind what was written, and 0; or the address of half of a surrogate pair.
    """
    while at < close:
        byte = load8(at)
        if byte != BACKSLASH:
            store8(target, byte)
            at += 1
            target += 1
            continue
        letter = load8(at + 1)
        if letter != _U:
            store8(target, _escaped(letter))
            at += 2
            target += 1
            continue
        code = _hexadecimal(at + 2)
        size = 6
        if 0xD800 <= code <= 0xDFFF:
            low = 0
            if code < 0xDC00 and at + 12 <= close and load8(at + 6) == BACKSLASH and load8(at + 7) == _U:
                low = _hexadecimal(at + 8)
            if low < 0xDC00 or low > 0xDFFF:
                return target, at
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            size = 12
        target = _write_utf8(target, code)
        at += size
    return target, 0


@compiled()
def _write_utf8(target: int, code: int) -> int:
    """Write a character that is no surrogate; return the address behind it."""
    if code < 0x80:
        store8(target, code)
        return target + 1
    if code < 0x800:
        store8(target, 0xC0 | code >> 6)
        more = 1
    elif code < 0x10000:
        store8(target, 0xE0 | code >> 12)
        more = 2
    else:
        store8(target, 0xF0 | code >> 18)
        more = 3
    for i in range(more):
        store8(target + 1 + i, 0x80 | (code >> (6 * (more - 1 - i)) & 0x3F))
    return target + 1 + more


@compiled()
def read_base64(at: int, count: int, target: int) -> int:
    """Decode standard base64 with its padding; return the number of bytes, or -1 if the text is not base64.

    ``target`` may be ``at``.
    """
    if count % 4 != 0:
        return -1
    if count == 0:
        return 0
    padding = 0
    if load8(at + count - 1) == 0x3D:
        padding = 2 if load8(at + count - 2) == 0x3D else 1
    size = count // 4 * 3 - padding
    end = at + count - padding
    while at < end:
        first, second = _DIGITS[load8(at)], _DIGITS[load8(at + 1)]
        third = _DIGITS[load8(at + 2)] if at + 2 < end else 0
        fourth = _DIGITS[load8(at + 3)] if at + 3 < end else 0
        if first | second | third | fourth < 0:
            return -1
        bits = first << 18 | second << 12 | third << 6 | fourth
        store8(target, bits >> 16)
        if at + 2 < end:
            store8(target + 1, bits >> 8 & 0xFF)
        if at + 3 < end:
            store8(target + 2, bits & 0xFF)
        at += 4
        target += 3
    return size
