"""surgetank.serving.answers and the scorer: vectors and labels of several models, in the order of the batch."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.records import DecodedBatch, RecordBatch
from surgetank.scored_rows import VECTOR, ScoredRows, ScoreKind
from surgetank.serving.answers import Answers
from surgetank.serving.router import Route
from surgetank.serving.scorer import MODEL_ERROR, NOT_A_NUMBER, Scorer
from tests.support.function_model import FunctionModel

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

FINE, RAISES, NAN, INFINITE = range(4)
LABELS = ("a", "b", "c")


def events_of(count: int) -> DecodedBatch:
    """Return events whose row numbers are 3 apart."""
    columns = pa.RecordBatch.from_pydict({"n": pa.array(range(count), pa.int64())})
    return DecodedBatch(RecordBatch.of(()), 100 + 3 * np.arange(count, dtype=np.int64), columns)


def misbehaving(matrix: Float32s, answer: Float64s, *, element: int) -> Float64s:
    """Return an answer for rows [number, kind], changed as the kinds say."""
    if (matrix[:, 1] == RAISES).any():
        raise RuntimeError("cannot")
    answer[matrix[:, 1] == NAN, element] = math.nan
    answer[matrix[:, 1] == INFINITE, element] = -math.inf
    return answer


def vector_model(width: int) -> FunctionModel:
    """Return a model that gives the number of a row, and zeros behind it or halves."""

    def vectors(matrix: Float32s) -> Float64s:
        answer = np.tile(matrix[:, :1].astype(np.float64), width) / (1 + np.arange(width))
        return misbehaving(matrix, answer, element=width - 1)

    return FunctionModel(vectors, version=str(width))


class LettersModel(FunctionModel):
    """A model of labels: by the number of the row, with its hundredth as probability."""

    def __init__(self, labels: tuple[str, ...] = LABELS) -> None:
        super().__init__(self._labelled, version="-".join(labels))
        self.labels = labels

    def _labelled(self, matrix: Float32s) -> Float64s:
        number = matrix[:, 0].astype(np.float64)
        answer = np.column_stack([number / 100, number % len(self.labels)])
        return misbehaving(matrix, answer, element=0)


class Alternating:
    """Sends each row to one model after the other."""

    def __init__(self, models: Sequence[FunctionModel]) -> None:
        self._models = models

    def primary(self, events: DecodedBatch) -> Sequence[Route]:
        """Return a route for each model."""
        step = len(self._models)
        return [Route(model, np.arange(at, len(events), step)) for at, model in enumerate(self._models)]


def scored(models: Sequence[FunctionModel], kinds: list[int], kind: ScoreKind) -> ScoredRows:
    """Score rows of these kinds."""
    matrix = np.array([(number, each) for number, each in enumerate(kinds)], dtype=np.float32).reshape(-1, 2)
    return Scorer(Alternating(models), SystemClock(), kind).score(events_of(len(kinds)), matrix)


KINDS = st.lists(st.sampled_from([FINE, FINE, FINE, RAISES, NAN, INFINITE]), max_size=30)


@settings(deadline=None)
@given(kinds=KINDS, widths=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_each_row_has_its_vector_or_is_a_dead_letter(kinds: list[int], widths: list[int]) -> None:
    """Whatever models answer, with vectors of their own length; NaN in the last element is enough to die."""
    found = scored([vector_model(width) for width in widths], kinds, "vector")
    fine = [at for at, kind in enumerate(kinds) if kind == FINE]
    assert found.kept.tolist() == fine
    assert found.scores.tolist() == [float(at) for at in fine]  # the largest element
    assert found.labels is None
    assert found.vectors is not None
    assert found.vectors.type == VECTOR
    assert found.vectors.to_pylist() == [[at / (1 + place) for place in range(widths[at % len(widths)])] for at in fine]
    _check_dead(found, kinds)


@settings(deadline=None)
@given(kinds=KINDS, several=st.booleans())
def test_each_row_has_its_label_or_is_a_dead_letter(kinds: list[int], several: bool) -> None:
    """The label is that of the model that answered; the score is its probability."""
    models = [LettersModel(), LettersModel(("x", "y"))] if several else [LettersModel()]
    found = scored(models, kinds, "label")
    fine = [at for at, kind in enumerate(kinds) if kind == FINE]
    assert found.kept.tolist() == fine
    assert found.scores.tolist() == [at / 100 for at in fine]
    assert found.vectors is None
    assert found.labels is not None
    labels = [models[at % len(models)].labels for at in fine]
    assert found.labels.to_pylist() == [each[at % len(each)] for at, each in zip(fine, labels, strict=True)]
    _check_dead(found, kinds)


def _check_dead(found: ScoredRows, kinds: list[int]) -> None:
    reasons = {RAISES: MODEL_ERROR, NAN: NOT_A_NUMBER, INFINITE: NOT_A_NUMBER}
    expected = [(100 + 3 * at, reasons[kind]) for at, kind in enumerate(kinds) if kind != FINE]
    assert [(letter.row, letter.reason) for letter in found.dead] == expected


def test_a_dead_letter_says_the_element_that_is_no_number() -> None:
    """Not the largest one."""
    found = scored([vector_model(3)], [FINE, INFINITE], "vector")
    assert [letter.message for letter in found.dead] == ["the model's score is -inf"]


def test_numbers_have_no_further_columns() -> None:
    """They cost nothing."""
    model = FunctionModel(lambda matrix: matrix[:, 0].astype(np.float64))
    found = scored([model], [FINE, FINE], "number")
    assert (found.vectors, found.labels) == (None, None)


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("vector", np.zeros(2), r"vectors of shape \(2,\); it must be \[2, k\]"),
        ("vector", np.zeros((3, 2)), r"it must be \[2, k\]"),
        ("vector", np.zeros((2, 0)), r"vectors of shape \(2, 0\); it must be \[2, k\]"),
        ("label", np.zeros((2, 3)), r"labels of shape \(2, 3\); it must be \[2, 2\]"),
        ("number", np.zeros((2, 1)), r"scores of shape \(2, 1\) for 2 rows"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(kind: ScoreKind, answer: Float64s, message: str) -> None:
    """It says nothing of any row."""
    with pytest.raises(ValueError, match=message):
        Answers(kind, 2).put(0, 2, answer)


def test_vectors_of_one_model_have_one_length() -> None:
    """A second call with another length is an error."""
    answers = Answers("vector", 4)
    answers.put(0, 2, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"it must be \[2, 3\]"):
        answers.put(2, 4, np.zeros((2, 2)))


def test_a_model_without_labels_cannot_be_asked_for_them() -> None:
    """A model that wraps another must pass its labels on."""
    model = FunctionModel(lambda matrix: np.zeros((len(matrix), 2)))
    with pytest.raises(TypeError, match="model m 1 has no labels"):
        scored([model], [FINE], "label")
