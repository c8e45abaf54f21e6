"""ONNX Runtime without its usage telemetry, which writes a database and a device id to the user's cache folder.

Set the environment variable ORT_DISABLE_TELEMETRY to 0 to switch it on. ONNX Runtime reads the variable when it is
imported, so the other modules import it from here.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["ort"]
