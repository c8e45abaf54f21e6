"""Memory for the columns of a batch: one piece for all buffers of a program, sized by what the last batches took."""

from typing import Any

import numpy as np
import pyarrow as pa
from numba import float64, int64, types

from surgetank.codec.avro.memory import load32, store32
from surgetank.codec.avro.program import BITS, HEAP, Int64s, Program, Shape
from surgetank.compiled import compiled

_ALIGNMENT = 64
_HEAP_BYTES = 16.0  # for a row, until a batch has shown how many it takes
_ITEMS = 2.0  # for a row, likewise
_SPARE = 1.25  # room for a row, as a multiple of what the last rows took
_SPARE_BYTES = 256  # room for a batch of few rows that are larger than the last
_FORGET = 0.9

_int64s = types.Array(int64, 1, "C")
_float64s = types.Array(float64, 1, "C")


@compiled(types.void(_int64s, _int64s, _int64s, _int64s, _int64s))
def _lay_out(bits: Any, level: Any, capacities: Any, heaps: Any, starts: Any) -> None:
    """Write where each buffer starts, and behind the last, int64 [buffers + 1]. ``bits`` is those of a value."""
    at = 0
    for b in range(len(bits)):
        starts[b] = at
        size = heaps[b] + (bits[b] * (capacities[level[b]] + 1) + 7) // 8
        at += (size + _ALIGNMENT) // _ALIGNMENT * _ALIGNMENT
    starts[len(bits)] = at


@compiled(types.void(_int64s, _int64s, _int64s, int64))
def _place(starts: Any, offsets: Any, addresses: Any, base: int) -> None:
    """Write the addresses of the buffers, and the first of the offsets, which is 0."""
    for b in range(len(addresses)):
        addresses[b] = base + starts[b]
    for b in offsets:
        store32(addresses[b], 0)


@compiled(types.void(_int64s, _int64s, _int64s, int64, _int64s, _float64s, _float64s))
def _learn(offsets: Any, bits: Any, level: Any, rows: int, addresses_counts: Any, heap_bytes: Any, items: Any) -> None:
    """Remember for a row of the next batch what one took. ``addresses_counts``: the addresses, then the counts."""
    buffers = len(bits)
    for b in offsets:
        if b + 1 < buffers and bits[b + 1] == 0:
            used = load32(addresses_counts[b] + 4 * addresses_counts[buffers + level[b]])
            heap_bytes[b + 1] = max(_SPARE * used / rows, _FORGET * heap_bytes[b + 1])
    for child in range(1, len(items)):
        items[child] = max(_SPARE * addresses_counts[buffers + child] / rows, _FORGET * items[child])


class Arena:
    """The buffers of one batch after another: ``begin`` a batch, grow what is full, ``learn``, take the ``pieces``.

    ``addresses`` and ``heaps``, int64 [buffers], and ``capacities``, int64 [levels], are what ``decode_rows`` wants.
    """

    def __init__(self, program: Program) -> None:
        widths = np.array([buffer.width for buffer in program.buffers] or [HEAP], dtype=np.int64)
        self._is_heap = widths == HEAP
        self._bits = np.where(self._is_heap, 0, np.where(widths == BITS, 1, 8 * widths))
        self._level = np.array([buffer.level for buffer in program.buffers] or [0], dtype=np.int64)
        self._offsets = np.array([b for b, each in enumerate(program.buffers) if each.offsets], dtype=np.int64)
        self._heap_bytes = np.where(self._is_heap, _HEAP_BYTES, 0.0)
        self._heap_spare = np.where(self._is_heap, _SPARE_BYTES, 0)
        self._items = np.full(program.levels, _ITEMS)
        self._items[0] = 1.0
        self._starts = np.zeros(len(widths) + 1, dtype=np.int64)
        self.addresses = np.zeros(len(widths), dtype=np.int64)
        self.heaps = np.zeros(len(widths), dtype=np.int64)
        self.capacities = np.zeros(program.levels, dtype=np.int64)
        self.pieces: list[pa.Buffer] = []

    def begin(self, rows: int, payload_bytes: int) -> None:
        """Make room for a batch of so many rows; the buffers of the last belong to whoever took them.

        ``payload_bytes``, those of all rows, limit the room: a few large rows say nothing about many small ones.
        """
        self.capacities[:] = np.minimum(self._items * rows, max(rows, payload_bytes)) + 1
        self.heaps[:] = np.minimum(self._heap_bytes * rows, payload_bytes) + self._heap_spare
        _lay_out(self._bits, self._level, self.capacities, self.heaps, self._starts)
        *starts, size = self._starts.tolist()
        memory = pa.allocate_buffer(size)
        _place(self._starts, self._offsets, self.addresses, memory.address)
        self.pieces = [memory.slice(start, end - start) for start, end in zip(starts, [*starts[1:], size], strict=True)]

    def grow_heap(self, b: int) -> None:
        """At least double the room of a buffer of bytes; its bytes move with it."""
        self.heaps[b] = 2 * self.heaps[b] + _SPARE_BYTES
        self._move(b, int(self.heaps[b]))

    def grow_level(self, level: int) -> None:
        """At least double the room of the buffers of a level; their values move with them."""
        self.capacities[level] = 2 * self.capacities[level] + _ALIGNMENT
        for b in np.flatnonzero((self._level == level) & ~self._is_heap).tolist():
            self._move(b, (int(self._bits[b]) * (int(self.capacities[level]) + 1) + 7) // 8)

    def learn(self, rows: int, counts: Int64s) -> None:
        """Remember what a batch of rows, at least one, took. ``counts``, int64 [levels]: the values of each level."""
        both = np.concatenate([self.addresses, counts])
        _learn(self._offsets, self._bits, self._level, rows, both, self._heap_bytes, self._items)

    def column(self, shape: Shape, counts: list[int]) -> pa.Array:
        """Return the values of a shape. ``counts`` are the values of each level."""
        count = counts[shape.level]
        buffers = [self.pieces[b] if b >= 0 else None for b in (shape.validity, *shape.buffers)]
        if shape.symbols is not None:
            places = pa.Array.from_buffers(pa.int32(), count, buffers)
            return pa.array(shape.symbols or ("",), pa.string()).take(places)
        if not shape.children:
            return pa.Array.from_buffers(shape.type, count, buffers)
        children = [self.column(child, counts) for child in shape.children]
        if isinstance(shape.type, pa.MapType):
            entries = pa.struct([shape.type.key_field, shape.type.item_field])
            length = counts[shape.children[0].level]
            children = [pa.Array.from_buffers(entries, length, [None], children=children)]
        return pa.Array.from_buffers(shape.type, count, buffers, children=children)

    def _move(self, b: int, size: int) -> None:
        old = self.pieces[b]
        new = pa.allocate_buffer(max(size, old.size))
        np.frombuffer(new, dtype=np.uint8)[: old.size] = np.frombuffer(old, dtype=np.uint8)
        self.pieces[b] = new
        self.addresses[b] = new.address
