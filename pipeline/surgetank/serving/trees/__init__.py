"""Tree ensembles read from ONNX graphs and scored by compiled loops, without ONNX Runtime."""
