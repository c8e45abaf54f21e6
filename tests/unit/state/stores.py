"""Stores for the tests of state: small ones, and what a store must hold after so many writes."""

from pathlib import Path

import numpy as np

from surgetank.state.budget import Budget
from surgetank.state.changelog import Changes
from surgetank.state.sparse_serde import SparseSerde
from surgetank.state.store import Store, StoreMemory
from surgetank.state.store_identity import StoreIdentity, TableSignature

MIB = 1 << 20
SMALL = Budget(block_cache=4 * MIB, write_buffer=64 << 10, rows=MIB, open_files=32)

CARDS = SparseSerde(np.array([np.nan, 0.0, -1.0]))
SHOPS = SparseSerde(np.zeros(1))
FORMATS = {"cards": CARDS, "shops": SHOPS}
SHAPES = {name: TableSignature(format_.size, f"{name}-1") for name, format_ in FORMATS.items()}
PAYMENTS = StoreIdentity("payments", 3, 12, SHAPES)

SOURCE, CHANGELOG = "payments.events", "payments.cards.changelog"


def opened(path: Path, identity: StoreIdentity = PAYMENTS, budget: Budget = SMALL) -> Store:
    """Open a store with a memory of its own."""
    return Store.open(path, identity, StoreMemory(budget))


def step(number: int, rows: int = 150) -> dict[str, Changes]:
    """Return what write ``number``, from 1, changes: a function of the number, with deletions in it."""
    keys = [b"key-%d" % ((31 * number + place * place) % 1000) for place in range(rows)]
    cards = CARDS.pack(
        np.array([[number, place, number * place] for place in range(rows)], dtype=float), number
    ).to_pylist()
    shops = SHOPS.pack(np.full((rows, 1), float(number)), number).to_pylist()
    changed: dict[bytes, bytes | None] = dict(zip(keys, cards, strict=True))
    changed |= {key: None for place, key in enumerate(keys) if (number + place) % 17 == 0}
    return {"cards": changed, "shops": dict(zip(keys[:9], shops[:9], strict=True))}


def positions(number: int) -> dict[str, int]:
    """Return the positions of write ``number``."""
    return {SOURCE: 10 * number, CHANGELOG: 7 * number}


def after(number: int) -> dict[str, dict[bytes, bytes]]:
    """Return what the tables hold after the first ``number`` writes."""
    tables: dict[str, dict[bytes, bytes | None]] = {name: {} for name in FORMATS}
    for each in range(1, number + 1):
        for name, changes in step(each).items():
            tables[name].update(changes)
    return {name: {k: v for k, v in rows.items() if v is not None} for name, rows in tables.items()}


def held(store: Store) -> dict[str, dict[bytes, bytes]]:
    """Return what the tables of a store hold."""
    return {name: dict(store.scan(name, None, 1_000_000)) for name in FORMATS}


def assert_true_to_its_positions(store: Store) -> int:
    """Check that a store holds what its positions say, and return how many writes that is."""
    at = store.positions()
    number = at.get(SOURCE, 0) // 10
    assert at == (positions(number) if number else {})
    assert held(store) == after(number)
    return number
