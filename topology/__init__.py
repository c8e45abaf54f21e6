"""The pipelines that run: one file each."""
