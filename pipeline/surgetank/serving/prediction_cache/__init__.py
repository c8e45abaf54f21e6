"""Scores of rows that a model has scored before, kept in memory."""
