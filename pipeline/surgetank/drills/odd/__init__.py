"""The drill with odd pipelines and events: random schemas, declarations, models and records, judged by own rules.

Odd are pipelines and records that nobody who wrote the engine had in mind: types, sizes, bytes, times and settings that
are allowed and unusual, or wrong. The word names the drill (``surgetank chaos odd``), which is no measure of how many
such records a topic has in use.
"""
