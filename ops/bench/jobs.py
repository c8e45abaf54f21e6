"""The jobs: their events, encoded once, and the number of warm-up events. ``flights``, ``payments:10000``."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import pyarrow as pa

from ops.bench.job import Avro
from ops.bench.payments import made_up, warm
from surgetank.drills.recording import Recording


class ReplayedRange(NamedTuple):
    """Consecutive events, ready to send. ``times_ms``: their record timestamps; None for the time of sending."""

    keys: list[bytes | None]
    values: list[bytes]
    times_ms: list[int] | None


class Pool(NamedTuple):
    """Events without a time yet: columns in the order of the schema, and record keys."""

    columns: list[pa.Array]
    keys: list[bytes | None]


class Workload(Protocol):
    """A job. ``schema`` is that of its events, ``time`` the name of their time field; the first ``warm`` are warm-up.

    ``memory``: whether it keeps a state row for each key.
    """

    @property
    def name(self) -> str:
        """The name of the job on the command line."""
        ...

    @property
    def schema(self) -> str: ...  # noqa: D102 - said above

    @property
    def time(self) -> str: ...  # noqa: D102 - said above

    @property
    def warm(self) -> int: ...  # noqa: D102 - said above

    @property
    def memory(self) -> bool: ...  # noqa: D102 - said above

    def stretches(self, count: int) -> Iterator[ReplayedRange]:
        """Yield the first ``count`` events."""
        ...

    def pool(self, rows: int) -> Pool:
        """Return events for the latency measurement, to be sent repeatedly."""
        ...


@dataclass(frozen=True, slots=True)
class Flights:
    """The recorded flights at boarding, in the order of their time; stateless."""

    name: str = "flights"
    schema: str = "boarding"
    time: str = "boarding_at"
    warm: int = 0
    memory: bool = False

    def stretches(self, count: int) -> Iterator[ReplayedRange]:
        """Yield the flights, repeatedly."""
        avro = Avro(self.schema)
        for chunk in _boarding().chunks(lambda _, batch: avro.encode(batch.columns), count=count):
            yield ReplayedRange(chunk.keys, chunk.values, None)

    def pool(self, rows: int) -> Pool:
        """Return the first flights of the year."""
        (columns,) = _boarding().tables[0].slice(0, rows).combine_chunks().to_batches()
        return Pool(columns.columns, columns["tailnum"].cast(pa.binary()).to_pylist())


@dataclass(frozen=True, slots=True)
class Payments:
    """Synthetic payments of this many cards, up to now: a table of five windowed aggregates."""

    cards: int = 10_000
    schema: str = "card_payment"
    time: str = "paid_at"
    memory: bool = True

    @property
    def name(self) -> str:
        """Such as ``payments:10000``."""
        return f"payments:{self.cards}"

    @property
    def warm(self) -> int:
        """Before that many events some cards have no row yet."""
        return warm(self.cards)

    def stretches(self, count: int) -> Iterator[ReplayedRange]:
        """Yield payments; the record timestamp is the payment time, as if each had been sent at once."""
        avro = Avro(self.schema)
        for paid in made_up(self.cards, count, time.time_ns() // 1_000_000):
            yield ReplayedRange(list(paid.keys), avro.encode(paid.columns), paid.times_ms.tolist())

    def pool(self, rows: int) -> Pool:
        """Return payments from after the point where every card has paid."""
        *_, last = made_up(self.cards, -(-(self.warm + rows) // rows) * rows, 0)
        return Pool([column.slice(0, rows) for column in last.columns], list(last.keys[:rows]))


def named(text: str) -> Workload:
    """Return the job with that name."""
    kind, _, number = text.partition(":")
    return Flights() if kind == "flights" else Payments(int(number))


@cache
def _boarding() -> Recording:
    from topology.recordings.flights import recording

    return recording().only("boarding")
