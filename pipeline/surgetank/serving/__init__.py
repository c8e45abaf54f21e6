"""Models: bundles, ONNX Runtime, scoring of batches."""
