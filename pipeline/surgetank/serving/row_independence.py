"""Checks that the score of a row depends on this row alone: not on the other rows of its batch, their number or order.

Batches form by themselves from what has arrived, so a model without this property (softmax over the rows, batch
normalization in training mode, dropout) would give the same event another score each time.
"""

import logging
from collections.abc import Callable

import numpy as np

from surgetank.errors import ModelError
from surgetank.serving.model import Float32s, Float64s

log = logging.getLogger(__name__)

ROWS = 96  # above the number of rows from which rows are reordered (``row_order``)
ALONE = 16  # rows that are also scored one by one
MAGNITUDES = (1.0, 10.0, 100.0, 1000.0)

Score = Callable[[Float32s], Float64s]


def random_rows(features: int) -> Float32s:
    """Return float32 [ROWS, features], the same rows for each call: numbers of several magnitudes and small integers.

    None is negative or missing, because many a model raises for these: codes of categories are numbers from 0.
    """
    random = np.random.default_rng(1)
    numbers = np.abs(random.normal(size=(ROWS, features))) * random.choice(MAGNITUDES, (ROWS, features))
    integers = random.integers(0, 4, (ROWS, features))
    return np.where(random.random((ROWS, features)) < 0.5, numbers, integers).astype(np.float32)


def check_row_independence(what: str, score: Score, features: int, *, relative: float, absolute: float) -> None:
    """Score random rows alone, together, permuted and twice; raise ModelError if the scores of a row differ.

    Of scores that are vectors, each element is compared.

    Scores a and b differ if ``abs(a - b) > absolute + relative * (abs(b) + m)``, where m is the median of the absolute
    scores: the kernels of ONNX Runtime round one row differently from several, and a small sum of large terms keeps the
    error of its terms. A model that raises for these rows is not checked; a warning reports that. ``what`` names the
    model.
    """
    rows = random_rows(features)
    order = np.random.default_rng(2).permutation(ROWS)
    try:
        together = score(rows)
        again = score(rows)
        permuted = np.empty_like(together)
        permuted[order] = score(rows[order])
        alone = np.concatenate([score(rows[row : row + 1]) for row in range(ALONE)])
    except Exception as error:  # noqa: BLE001 - the runtime's errors have no common base
        log.warning(
            "%s: whether a score depends on the rest of its batch is not known: it raises for random rows: %s",
            *(what, error),
        )
        return
    size = np.abs(together[np.isfinite(together)])
    typical = float(np.median(size)) if len(size) else 0.0
    for scores, how in ((again, "when they are scored twice"), (permuted, "in another order"), (alone, "alone")):
        expected = together[: len(scores)]
        with np.errstate(invalid="ignore"):  # inf - inf
            differs = ~np.isclose(scores, expected, rtol=relative, atol=absolute + relative * typical, equal_nan=True)
        if differs.any():
            at = tuple(np.argwhere(differs)[0])
            element = f", element {at[1]}," if len(at) > 1 else ""
            raise ModelError(
                f"{what}: the score of an event depends on the rest of its batch: of {ROWS} random rows, row {at[0]}"
                f"{element} has the score {expected[at]:.9g} with the others and {scores[at]:.9g} {how}; the tolerance "
                f"is {relative:g} relative + {absolute:g} absolute (`tolerance` in the bundle's manifest). Export the "
                "model for inference, without operations over the rows"
            )
