"""The compression of dead letters and of their replay, and the size of a record that is sent with it.

A record that is larger than a batch is alone in its batch. librdkafka compresses its encoding as one stream; pyarrow
does the same with the same algorithm and level, so the size is known before the record is produced.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from surgetank.records import Headers

# zstd keeps what producers compressed with gzip about as small. At level 1, the one of pyarrow's streams, it needs 3 ms
# per megabyte of text.
CODEC = "zstd"
LEVEL = 1
# librdkafka and pyarrow may have different versions of zstd: the share of the size by which theirs may differ.
_MARGIN = 16


class RecordBytes(NamedTuple):
    """The largest record that a topic takes, in bytes.

    A record of up to ``stored`` bytes fits uncompressed; one of up to ``uncompressed`` bytes fits if it has up to
    ``stored`` bytes when it is compressed. ``uncompressed`` is 0 if the brokers store records in another way.
    """

    stored: int
    uncompressed: int

    def fit(self, bytes_: int, compressed: Callable[[], int]) -> bool:
        """Return whether a record of so many bytes fits. ``compressed`` returns the most bytes that it has then."""
        return bytes_ <= self.stored or (bytes_ <= self.uncompressed and compressed() <= self.stored)


def compressed_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the most bytes that a record has in a batch of its own, compressed, without the batch header.

    Needs constant memory.
    """
    sink = pa.MockOutputStream()  # counts
    with pa.CompressedOutputStream(sink, CODEC) as stream:
        for part in _encoded(key, value, headers):
            stream.write(part)
    size = int(sink.size())
    return size + -(-size // _MARGIN)


def _encoded(key: bytes | None, value: bytes | None, headers: Headers) -> Iterator[bytes]:
    """Yield the encoding of the only record of a batch, in format 2 of Kafka's protocol."""
    around = [b"\0\0\0", _length(key), key or b"", _length(value)]  # attributes; differences of time and offset
    after = [_varint(len(headers))]
    for name, content in headers:
        encoded = name.encode(errors="surrogateescape")
        after += [_length(encoded), encoded, _length(content), content or b""]
    yield _varint(sum(map(len, around)) + len(value or b"") + sum(map(len, after)))
    yield from around
    yield value or b""
    yield from after


def _length(content: bytes | None) -> bytes:
    return _varint(-1 if content is None else len(content))


def _varint(number: int) -> bytes:
    """Return a number below 2**31, or -1, as a variable-length integer with the sign in the lowest bit."""
    rest = 2 * number if number >= 0 else -2 * number - 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)
