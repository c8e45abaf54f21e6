"""Scripts that train models and write model bundles."""
