"""Memory of the pipeline: keyed rows on the local disk, kept in step with their changelog topic."""
