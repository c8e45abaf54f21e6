"""Avro to Arrow and back by one compiled interpreter: a schema becomes a table of instructions, not machine code."""
