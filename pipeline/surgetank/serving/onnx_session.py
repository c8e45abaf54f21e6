"""Opens a session of ONNX Runtime, or says in one sentence why it cannot."""

import re
from pathlib import Path

from surgetank.errors import ModelError
from surgetank.serving.execution_providers import CPU, provider_named
from surgetank.serving.onnx_without_telemetry import ort

_LOG_FATAL = 4  # errors of calls are raised; ONNX Runtime would also write a line for each
# What ONNX Runtime says of a model that is newer than itself; it has no function that returns the numbers.
_NEW_OPSET = re.compile(r"Opset (\d+) is under development.* support for domain (\S+) is till opset (\d+)", re.DOTALL)
_NEW_FORMAT = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


def open_session(what: str, model: Path | bytes, *, threads: int, provider: str) -> ort.InferenceSession:
    """Return a session for a file or its bytes. ``what`` names the model, ``provider`` the execution provider.

    Raises ModelError if ONNX Runtime cannot load the model or start the provider, SettingsError if it does not have
    the provider.
    """
    chosen = provider_named(provider, ort.get_available_providers())
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_FATAL
    # A memory pattern would be kept for every batch size; natural batching has thousands of sizes.
    options.enable_mem_pattern = False
    # Threads that spin while waiting take CPU from decoding and from the clients' heartbeats.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    content = str(model) if isinstance(model, Path) else model
    try:
        session = ort.InferenceSession(content, options, providers=list(dict.fromkeys([chosen, CPU])))
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        raise ModelError(f"{what}: {load_fault(str(error))}") from error
    check_started(what, chosen, session.get_providers())
    return session


def check_started(what: str, provider: str, started: list[str]) -> None:
    """Raise ModelError unless the provider is among those that a session started.

    ONNX Runtime goes on with the processor if a device or a library of its maker is missing.
    """
    if provider not in started:
        raise ModelError(
            f"{what}: ONNX Runtime has {provider} and could not start it: the device, its driver or a library of its "
            f"maker is missing, see the lines before this one; or set model.provider to {CPU}"
        )


def load_fault(error: str) -> str:
    """Return what is wrong with a model that ONNX Runtime does not load, by its error. Pure."""
    ours = f"ONNX Runtime {ort.__version__}"
    if found := _NEW_OPSET.search(error):
        opset, domain, newest = found[1], found[2].rstrip("."), found[3]
        return (
            f"it has opset {opset} of {domain}, and {ours} takes up to {newest}: export it with {newest} "
            "(skl2onnx: target_opset; torch.onnx.export: opset_version), or install a newer onnxruntime"
        )
    if found := _NEW_FORMAT.search(error):
        return (
            f"it has the IR version {found[1]} of ONNX, and {ours} takes up to {found[2]}: export it for an earlier "
            f"opset, set its ir_version to {found[2]}, or install a newer onnxruntime"
        )
    return f"ONNX Runtime cannot load it: {error}"
