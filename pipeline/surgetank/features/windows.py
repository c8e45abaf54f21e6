"""Update the state rows of a batch: each event reads the state before it, then adds itself. Compiled with numba.

Semantics of a window (span W in B buckets of width b, ring of R = 2B buckets): ``newest`` is the greatest bucket of an
event that has updated the ring. An event at t reads the buckets in (bucket(t) - B, bucket(t)] that are still in the
ring, that is, greater than newest - R. Then the event is added to its own bucket if that is in the ring or newer;
otherwise the event is late and leaves the ring unchanged. Since newest never decreases, it is the bucket of the
greatest event time.

One compiled loop handles all layouts: it reads the layout as integer arrays (``row_layout.UpdateProgram``). Means and
squared distances are updated by Welford's method (1962), buckets merged by that of Chan, Golub and LeVeque (1979).
"""

from math import sqrt

import numpy as np
from numba import boolean, float64, int64, types

from surgetank.compiled import compiled
from surgetank.features.aggregate_kinds import Accumulator, AggregateKind, RingRead
from surgetank.features.row_layout import NEWEST_TIME, TIME_BOUND_MS, Bools, Int64s, RowLayout
from surgetank.features.spec import Float64s

NO_BUCKET = -(2**62)  # the newest bucket of an empty ring: older than every bucket

LAST = int(AggregateKind.LAST)
TOTAL, RATIO, DEVIATION = int(RingRead.TOTAL), int(RingRead.RATIO), int(RingRead.DEVIATION)
SMALLEST, GREATEST = int(RingRead.SMALLEST), int(RingRead.GREATEST)
EVENTS, COUNT, SUM = int(Accumulator.EVENTS), int(Accumulator.COUNT), int(Accumulator.SUM)
MIN, MAX = int(Accumulator.MIN), int(Accumulator.MAX)


@compiled()
def _read_ring(
    row: Float64s,
    rings: Int64s,
    r: int,
    ring_reads: Int64s,
    bucket: int,
    slot: int,
    newest: int,
    results: Float64s,
    i: int,
) -> None:
    """Write the aggregates of ring ``r`` for an event in ``bucket`` into row ``i`` of ``results``."""
    buckets = rings[r, 1]
    slots = 2 * buckets
    first = max(bucket - buckets, newest - slots) + 1
    seen = max(min(bucket, newest) - first + 1, 0)
    start = slot - (bucket - first) if seen else 0
    if start < 0:
        start += slots
    end = min(start + seen, slots)  # the slots are start to end and, if the range wraps around, 0 to wrapped
    wrapped = start + seen - end
    for f in range(rings[r, 6], rings[r, 7]):
        read, column, a, b = ring_reads[f, 0], ring_reads[f, 1], ring_reads[f, 2], ring_reads[f, 3]
        if read == TOTAL:
            results[i, column] = _sum_slots(row, a, start, end, wrapped)
        elif read == RATIO:
            count = _sum_slots(row, b, start, end, wrapped)
            if count > 0:
                results[i, column] = _sum_slots(row, a, start, end, wrapped) / count
        elif read == DEVIATION:
            results[i, column] = _deviation_of_slots(row, a, b, slots, start, end, wrapped)
        elif read == SMALLEST:
            results[i, column] = _extreme_of_slots(row, a, -1.0, start, end, wrapped)
        elif read == GREATEST:
            results[i, column] = _extreme_of_slots(row, a, 1.0, start, end, wrapped)


@compiled()
def _sum_slots(row: Float64s, cells: int, start: int, end: int, wrapped: int) -> float:
    """Return the sum of an accumulator over a range of slots. ``cells`` is its cell for slot 0."""
    total = 0.0
    for at in range(cells + start, cells + end):
        total += row[at]
    for at in range(cells, cells + wrapped):
        total += row[at]
    return total


@compiled()
def _extreme_of_slots(row: Float64s, cells: int, sign: float, start: int, end: int, wrapped: int) -> float:
    """Return the greatest (``sign`` 1) or smallest (-1) value of a range of slots, NaN if all are missing."""
    extreme = -np.inf
    for at in range(cells + start, cells + end):
        if sign * row[at] > extreme:
            extreme = sign * row[at]
    for at in range(cells, cells + wrapped):
        if sign * row[at] > extreme:
            extreme = sign * row[at]
    return sign * extreme if extreme > -np.inf else np.nan


@compiled()
def _deviation_of_slots(
    row: Float64s, means: int, counts: int, slots: int, start: int, end: int, wrapped: int
) -> float:
    """Return the population standard deviation over a range of slots, NaN if they are empty."""
    count, total, squares = 0.0, 0.0, 0.0
    for s in range(start, end + wrapped):
        slot = s if s < end else s - end
        count += row[counts + slot]
        total += row[counts + slot] * row[means + slot]
    if count == 0:
        return np.nan
    mean = total / count
    for s in range(start, end + wrapped):
        slot = s if s < end else s - end
        distance = row[means + slot] - mean
        squares += row[means + slots + slot] + row[counts + slot] * distance * distance
    return sqrt(squares / count)


@compiled()
def _add_event(
    row: Float64s,
    rings: Int64s,
    r: int,
    updates: Int64s,
    fresh: Float64s,
    bucket: int,
    slot: int,
    newest: int,
    values: Float64s,
    i: int,
) -> bool:
    """Add event ``i`` to its bucket of ring ``r``; return False if the bucket is no longer in the ring."""
    slots, start, end = 2 * rings[r, 1], rings[r, 2], rings[r, 3]
    if bucket <= newest - slots:
        return False
    for passed in range(max(newest, bucket - slots) + 1, bucket + 1):
        for at in range(start + passed % slots, end, slots):
            row[at] = fresh[at]
    for u in range(rings[r, 4], rings[r, 5]):
        accumulator, at = updates[u, 0], updates[u, 2] + slot
        if accumulator == EVENTS:
            row[at] += 1
            continue
        value = values[i, updates[u, 1]]
        if value != value:
            continue
        if accumulator == COUNT:
            row[at] += 1
        elif accumulator == SUM:
            row[at] += value
        elif accumulator == MIN:
            if not row[at] <= value:
                row[at] = value
        elif accumulator == MAX:
            if not row[at] >= value:
                row[at] = value
        else:  # the mean, together with the sum of squared distances
            distance = value - row[at]
            row[at] += distance / row[updates[u, 3] + slot]  # divided by the count, which includes this value already
            row[at + slots] += distance * (value - row[at])
    return True


@compiled(
    int64(
        float64[:, ::1],  # results
        float64[:, ::1],  # rows
        *(types.Array(int64, 1, "C", readonly=True) for _ in ("key_index", "times_ms")),
        types.Array(float64, 2, "C", readonly=True),  # values
        *(types.Array(boolean, 1, "C", readonly=True) for _ in ("reads", "writes", "deletes")),
        types.Array(float64, 1, "C", readonly=True),  # fresh
        int64,  # ttl_ms
        *(types.Array(int64, 2, "C", readonly=True) for _ in range(5)),  # the program
    )
)
def _process_events(
    results: Float64s,
    rows: Float64s,
    key_index: Int64s,
    times_ms: Int64s,
    values: Float64s,
    reads: Bools,
    writes: Bools,
    deletes: Bools,
    fresh: Float64s,
    ttl_ms: int,
    rings: Int64s,
    updates: Int64s,
    ring_reads: Int64s,
    lasts: Int64s,
    latest: Int64s,
) -> int:
    """Process the events in order; the arguments are those of ``advance``. Return the number of late events."""
    late = 0
    for i in range(len(key_index)):
        if key_index[i] < 0:
            continue
        row = rows[key_index[i]]
        if deletes[i]:
            row[:] = fresh
            continue
        time = min(max(times_ms[i], -TIME_BOUND_MS), TIME_BOUND_MS)
        seen = row[NEWEST_TIME]
        is_late = False
        if reads[i]:
            for m in range(len(latest)):
                at = latest[m, 2]
                age = time - row[at]
                if age <= ttl_ms:  # false where the time is missing
                    results[i, latest[m, 1]] = row[at + 1] if latest[m, 0] == LAST else age / 1000
        for r in range(len(rings)):
            bucket = time // rings[r, 0]
            slot = bucket % (2 * rings[r, 1])
            newest = int64(seen) // rings[r, 0] if seen == seen else NO_BUCKET
            if reads[i]:
                _read_ring(row, rings, r, ring_reads, bucket, slot, newest, results, i)
            if writes[i] and not _add_event(row, rings, r, updates, fresh, bucket, slot, newest, values, i):
                is_late = True
        if writes[i]:
            for m in range(len(lasts)):
                at, value = lasts[m, 1], values[i, lasts[m, 0]]
                if value == value and not row[at] > time:
                    row[at] = time
                    row[at + 1] = value
            if not seen > time:
                row[NEWEST_TIME] = time
        late += is_late
    return late


def advance(
    layout: RowLayout,
    rows: Float64s,
    key_index: Int64s,
    times_ms: Int64s,
    values: Float64s,
    reads: Bools,
    writes: Bools,
    deletes: Bools | None = None,
) -> tuple[Float64s, int]:
    """Process n events in order: each reads the state of its key, then updates it.

    ``rows`` is float64 [k, W], C-contiguous, one row for each key of the batch, updated in place. For each event,
    ``key_index`` int64 [n] is its row (-1: the key is null; the event reads missing values and updates nothing),
    ``times_ms`` int64 [n] its event time, ``values`` float64 [n, V] its values in the order of ``layout.values``
    (values that are not finite count as null), ``reads`` and ``writes`` bool [n] whether it reads and updates.
    ``deletes`` bool [n], None for no event: whether it makes the row fresh instead, whatever else it is.

    Return the results, float64 [n, F] in the order of ``layout.measures`` (NaN: missing; all of a row for an event
    that does not read), and how many updating events were too late for one or more rings. Times beyond 2^52 ms count
    as 2^52 ms. Raises ValueError if shapes or types do not fit, or ``rows`` cannot be updated in place.
    """
    n, k = len(key_index), len(rows)
    deletes = np.zeros(n, dtype=np.bool_) if deletes is None else deletes
    usable = rows.dtype == np.float64 and rows.flags.c_contiguous and rows.flags.writeable
    if not usable or rows.shape != (k, layout.width):
        raise ValueError(
            f"rows must be a writable C-contiguous float64 [k, {layout.width}], not {rows.dtype} {rows.shape}"
        )
    if values.shape != (n, len(layout.values)) or not len(times_ms) == len(reads) == len(writes) == len(deletes) == n:
        raise ValueError(
            f"{n} events need as many times, reads, writes and deletes ({len(times_ms)}, {len(reads)}, {len(writes)}, "
            f"{len(deletes)}) and values [{n}, {len(layout.values)}], not {values.shape}"
        )
    if n and (key_index.min() < -1 or key_index.max() >= k):
        raise ValueError(f"key_index must lie in -1 to {k - 1}; it has {key_index.min()} to {key_index.max()}")
    results = np.full((n, len(layout.measures)), np.nan)
    ttl = layout.ttl_ms
    late = _process_events(
        results,
        rows,
        np.ascontiguousarray(key_index, dtype=np.int64),
        np.ascontiguousarray(times_ms, dtype=np.int64),
        np.ascontiguousarray(np.where(np.isfinite(values), values, np.nan)),
        np.ascontiguousarray(reads, dtype=np.bool_),
        np.ascontiguousarray(writes, dtype=np.bool_),
        np.ascontiguousarray(deletes, dtype=np.bool_),
        layout.fresh,
        np.iinfo(np.int64).max if ttl is None else ttl,
        *layout.program,
    )
    return results, int(late)


def plausible(times_ms: Int64s, arrived_ms: Int64s, past_ms: int, future_ms: int) -> Bools:
    """Return which event times lie in [arrival - past, arrival + future]: bool [n] of two int64 [n], all in ms.

    Other times come from a wrong clock (1970 or 2100). Their events may read state but must not update it: a single
    time far in the future would evict the whole ring.
    """
    edges = np.iinfo(np.int64)
    earliest = np.maximum(arrived_ms, edges.min + past_ms) - past_ms
    latest = np.minimum(arrived_ms, edges.max - future_ms) + future_ms
    return (earliest <= times_ms) & (times_ms <= latest)
