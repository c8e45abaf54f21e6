"""Chooses the input and the output of a model that are the features and the score, or lists what there is to choose."""

from collections.abc import Sequence

from surgetank.errors import ModelError
from surgetank.serving.bundle import Tensor

_MAPS = "seq(map("  # of a ZipMap, which is taken out of the model when it is loaded
_FLOATS = {"tensor(float)", "tensor(double)", "tensor(float16)"}


def choose_input(inputs: Sequence[Tensor], asked: str = "") -> str:
    """Return the name of the input that takes the features: ``asked``, else the only one. Pure.

    Raises ModelError, with the list of the inputs, if there is no such input or several.
    """
    return _chosen("input", inputs, [each.name for each in inputs], asked)


def choose_output(outputs: Sequence[Tensor], asked: str = "") -> str:
    """Return the name of the output with the score: ``asked``, else the only one of floats or of maps to them. Pure.

    A classifier of scikit-learn has a label of integers and the probabilities: the latter are chosen. Raises
    ModelError, with the list of the outputs, if there is no such output or several.
    """
    floats = [each.name for each in outputs if each.type in _FLOATS or each.type.startswith(_MAPS)]
    return _chosen("output", outputs, floats, asked)


def table(tensors: Sequence[Tensor]) -> str:
    """Return one line for each tensor: name, type and shape, as ``probabilities  tensor(float)  [?, 2]``."""
    width = max((len(each.name) for each in tensors), default=0)
    return "\n".join(f"  {each.name:<{width}}  {each.type}  {_shape(each)}" for each in tensors)


def _chosen(kind: str, tensors: Sequence[Tensor], candidates: Sequence[str], asked: str) -> str:
    if asked:
        if asked not in {each.name for each in tensors}:
            raise ModelError(f"the model has no {kind} {asked!r}; its {kind}s:\n{table(tensors)}")
        return asked
    if len(candidates) == 1:
        return candidates[0]
    which = "the features go into" if kind == "input" else "is the score"
    raise ModelError(f"which {kind} of the model {which}? Name it with --{kind}; its {kind}s:\n{table(tensors)}")


def _shape(tensor: Tensor) -> str:
    if tensor.shape is None:
        return "(shape not declared)"
    return f"[{', '.join('?' if each is None else str(each) for each in tensor.shape)}]"
