"""Drills that exercise and verify a running system: replay, audit, demo, chaos."""
