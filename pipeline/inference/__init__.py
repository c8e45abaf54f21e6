"""Matrices to scores."""
