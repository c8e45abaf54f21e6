"""Batches of encoded events of which some are damaged, for the fuzz tests of each format."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Mutate = Callable[[np.random.Generator, bytes], bytes | None]


def mutated_batches(events: Sequence[bytes], mutate: Mutate, count: int) -> Iterator[list[bytes | None]]:
    """Yield batches of 1 to 500 values until they are ``count`` or more; ``mutate`` damages a share of each batch."""
    rng = np.random.default_rng(20130101)
    made = 0
    while made < count:
        size = int(rng.choice([1, 7, 64, 500]))
        share = rng.choice([0.01, 0.2, 1.0])
        chosen = [events[int(i)] for i in rng.integers(0, len(events), size)]
        yield [mutate(rng, value) if rng.random() < share else value for value in chosen]
        made += size
