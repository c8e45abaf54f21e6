"""Runs a model that takes a fixed number of rows: whole batches, the last one filled up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surgetank.serving.model import Float32s

Arrays = Sequence[npt.NDArray[Any]]


def run_in_batches(run: Callable[[Float32s], Arrays], matrix: Float32s, size: int) -> list[npt.NDArray[Any]]:
    """Return the answers for a matrix float32 [m, F], each with m rows, of a model that takes exactly ``size`` rows.

    The last batch is filled up with copies of its last row, because a model may raise for other values. Raises
    ValueError if an answer has another number of rows than its batch, and what ``run`` raises.
    """
    parts = [_checked(run(_filled(matrix[at : at + size], size)), size) for at in range(0, max(len(matrix), 1), size)]
    return [np.concatenate(each)[: len(matrix)] for each in zip(*parts, strict=True)]


def _filled(part: Float32s, size: int) -> Float32s:
    if len(part) == size:
        return part
    filler = part[-1:] if len(part) else np.zeros((1, part.shape[1]), dtype=np.float32)
    return np.concatenate([part, np.repeat(filler, size - len(part), axis=0)])


def _checked(answers: Arrays, size: int) -> Arrays:
    for answer in answers:
        if answer.shape[:1] != (size,):
            raise ValueError(f"the model gave the shape {answer.shape} for a batch of {size} rows")
    return answers
