"""The classes of a classifier, as its ONNX graph names them, and its probabilities without maps.

skl2onnx and the converters of LightGBM and CatBoost end a graph with a ZipMap: of the probabilities [rows, classes] it
makes a sequence of maps from class to probability. ONNX Runtime makes Python dictionaries of these, one a row, so the
ZipMap is taken out and its labels become the names of the columns.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

_ML = "ai.onnx.ml"
_OPSET = 13  # of Cast, for a graph that uses no operator of the default domain
Labels = tuple[str, ...]


def replace_zip_maps(model: onnx.ModelProto) -> dict[str, Labels]:
    """Let each output that a ZipMap makes be its tensor instead; change ``model``. Return the labels by output."""
    outputs = {output.name: output for output in model.graph.output}
    found: dict[str, Labels] = {}
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.domain != _ML or node.output[0] not in outputs:
            continue
        name = node.output[0]
        found[name] = next(iter(_attributes(node)), ())
        # skl2onnx writes maps of float64 for inputs of float64, which no runtime takes: they become float32 too.
        node.CopyFrom(helper.make_node("Cast", [node.input[0]], [name], to=TensorProto.FLOAT))
        outputs[name].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    if found and not any(each.domain == "" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", _OPSET))
    return found


def class_labels(model: onnx.ModelProto, count: int) -> Labels:
    """Return the labels of ``count`` classes that the nodes of a graph name; empty if they name none, or several.

    Classifiers have them as an attribute; skl2onnx also writes them as the tensor in which an ArrayFeatureExtractor
    looks up the class of the largest probability.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: set[Labels] = set()
    for node in model.graph.node:
        found.update(_attributes(node))
        if node.op_type == "ArrayFeatureExtractor" and node.domain == _ML and node.input[0] in tensors:
            found.add(_of_tensor(tensors[node.input[0]]))
    fitting = {each for each in found if len(each) == count}
    return fitting.pop() if len(fitting) == 1 else ()


def _attributes(node: onnx.NodeProto) -> list[Labels]:
    values = [list(each.ints) or list(each.strings) for each in node.attribute if each.name.startswith("classlabels_")]
    return [tuple(_text(value) for value in each) for each in values if each]


def _of_tensor(tensor: onnx.TensorProto) -> Labels:
    if tensor.data_type not in {TensorProto.INT64, TensorProto.INT32, TensorProto.STRING}:
        return ()
    return tuple(_text(value) for value in numpy_helper.to_array(tensor).reshape(-1).tolist())


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
