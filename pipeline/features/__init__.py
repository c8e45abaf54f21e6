"""Columns to the matrix that a model takes."""
