"""Keyed state of the pipeline: rows on the local disk, consistent with their changelog topics."""
