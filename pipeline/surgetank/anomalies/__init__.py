"""Anomaly detection: rates, latencies, errors, scores and inputs, each compared with its own baseline."""
