"""Encoding and decoding between bytes and columns."""
