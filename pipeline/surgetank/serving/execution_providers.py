"""Which execution provider of ONNX Runtime runs a model: the processor, or a device."""

from collections.abc import Sequence

from surgetank.errors import SettingsError

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_PACKAGES = {  # on the Python Package Index, each instead of onnxruntime
    "coreml": "onnxruntime on macOS",
    "cuda": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino",
    "qnn": "onnxruntime-qnn",
    "rocm": "onnxruntime-rocm",
    "tensorrt": "onnxruntime-gpu",
}


def provider_named(name: str, available: Sequence[str]) -> str:
    """Return the provider of this name, with or without ``ExecutionProvider``, in any case. Pure.

    ``available`` are ONNX Runtime's names of those that it has. Raises SettingsError, which says what to install.
    """
    wanted = name.casefold().removesuffix(_SUFFIX.casefold())
    for each in available:
        if each.removesuffix(_SUFFIX).casefold() == wanted:
            return each
    present = ", ".join(each.removesuffix(_SUFFIX) for each in available)
    package = _PACKAGES.get(wanted)
    cure = f"install {package} instead of onnxruntime" if package else "install a build of ONNX Runtime that has it"
    raise SettingsError(
        f"model.provider is {name!r}, an execution provider that the installed ONNX Runtime does not have; it has "
        f"{present}: set one of these, or {cure}"
    )
