"""Telemetry of a worker: metrics, health, logs."""
