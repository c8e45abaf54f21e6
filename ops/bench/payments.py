"""The payments job: card payments scored with state per card. Needs numpy, pyarrow and pyruhvro only.

The payments are synthetic and deterministic: few cards pay often and many seldom (Zipf, exponent 1). After a first
sequence of such payments every card pays once, so that all keys have a row before the measurement; then they continue.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank import Events, Field, Pipeline, Scores
from surgetank.features.tables import Table, hours, minutes, table_states

cards = Table("cards")

# Six buckets, so that a state row is 85 numbers. With twelve it would be twice as wide.
FEATURES: tuple[Any, ...] = (
    Field("amount"),
    cards.count(window=minutes(10), buckets=6),
    cards.sum("amount", window=hours(1), buckets=6),
    cards.mean("amount", window=hours(24), buckets=6),
    cards.max("amount", window=hours(24), buckets=6),
    cards.std("amount", window=hours(24), buckets=6),
)
payments = Pipeline(
    name="payments",
    events=Events("payments.cards", schema="card_payment", key="card", time="paid_at"),
    features=FEATURES,
    model="payments-odd",
    scores=Scores("payments.scores"),
)
(memory,) = table_states(payments.features)
layout = memory.layout

LEAD = 8_192  # the payments before every card pays once; they include those compared between contenders
ROWS = 65_536
SPACING_MS = 20  # between two payments
LATE_SHARE, LATE_MS = 0.1, 5_000  # the share of payments out of order, and their maximum delay

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Paid:
    """Consecutive payments: ``columns`` in the order of the schema, record ``keys``, and event times in ms.

    ``odd`` marks payments far above the usual amount of their card, which the model detects.
    """

    columns: list[pa.Array]
    keys: list[bytes]
    times_ms: Int64s
    odd: npt.NDArray[np.bool_]


def warm(keys: int) -> int:
    """Return the number of payments after which each of ``keys`` cards has a row."""
    return LEAD + keys


def made_up(keys: int, count: int, last_ms: int, seed: int = 20) -> Iterator[Paid]:
    """Yield ``count`` payments of ``keys`` cards in the order of arrival; the last one is at ``last_ms``."""
    random = np.random.default_rng(seed)
    share = np.cumsum(1 / np.arange(1, keys + 1))
    share /= share[-1]
    once = random.permutation(keys)
    names = np.char.add("4000", np.char.zfill(random.permutation(keys).astype("U8"), 8))
    usual = np.exp(random.normal(3, 0.7, keys))  # the usual amount of a card
    first = last_ms - SPACING_MS * (count - 1)
    for start in range(0, count, ROWS):
        places = np.arange(start, min(start + ROWS, count))
        card = np.searchsorted(share, random.random(len(places)))
        turn = places - LEAD
        each = (turn >= 0) & (turn < keys)
        card[each] = once[turn[each]]
        odd = random.random(len(places)) < 0.02
        amount = np.round(usual[card] * np.exp(random.normal(0, 0.5, len(places))) * np.where(odd, 8, 1), 2)
        late = np.where(random.random(len(places)) < LATE_SHARE, random.integers(0, LATE_MS, len(places)), 0)
        times = first + SPACING_MS * places - late
        text = pa.array(names[card].tolist(), pa.string())
        columns = [
            pa.array([f"p-{place}" for place in places.tolist()], pa.string()),
            text,
            pa.array(amount),
            pa.array(times).view(pa.timestamp("ms", tz="UTC")),
        ]
        yield Paid(columns, text.cast(pa.binary()).to_pylist(), times, odd)
