"""The project's pipelines, one file each."""
