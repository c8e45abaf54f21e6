"""Registries of models: publish, list and pull bundles at any fsspec location, pull from MLflow."""
