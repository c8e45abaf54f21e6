"""The pipelines of the project, one file each."""
