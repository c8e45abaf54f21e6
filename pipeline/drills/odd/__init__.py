"""The drill with odd pipelines and events: random schemas, declarations, models and records, judged by own rules."""
