"""How far behind a pipeline is."""
