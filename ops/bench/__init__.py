"""The same job in four implementations on one real Kafka: `surgetank bench`, or `python -m ops.bench`."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # all contenders; see surgetank.serving.onnx_without_telemetry
