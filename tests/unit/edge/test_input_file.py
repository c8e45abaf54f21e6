"""Lines of a stream, whatever its chunks."""

import io

from hypothesis import given
from hypothesis import strategies as st

from surgetank.edge import input_file
from surgetank.edge.input_file import CountedStream, json_lines


@given(
    st.lists(st.sampled_from(['{"a": 1}', "", "\r", "{}", "x" * 40, '{"b": "é"}\r'])),
    st.booleans(),
    st.integers(1, 50),
)
def test_lines_are_yielded_without_their_ends(lines: list[str], ended: bool, chunk: int) -> None:
    """Empty ones are left out; the last one needs no newline."""
    text = "\n".join(lines) + "\n" * ended
    before, input_file._CHUNK_BYTES = input_file._CHUNK_BYTES, chunk
    try:
        stream = CountedStream(io.BytesIO(text.encode()))
        found = [line for part in json_lines(stream, "events") for line in part.to_pylist()]
    finally:
        input_file._CHUNK_BYTES = before
    kept = [line.removesuffix("\r") for line in text.split("\n")]
    assert found == [line.encode() for line in kept if line]
    assert stream.tell() == len(text.encode())


@given(st.binary(max_size=30), st.lists(st.integers(1, 9), max_size=40))
def test_the_first_bytes_are_read_once(content: bytes, sizes: list[int]) -> None:
    """They are looked at before the first read, and belong to it."""
    stream = CountedStream(io.BytesIO(content))
    assert stream.first == content[:4]
    assert b"".join(stream.read(size) for size in sizes) == content[: sum(sizes)]
    assert stream.tell() == min(len(content), sum(sizes))
