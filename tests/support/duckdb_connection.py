"""A DuckDB database for the queries of a test process: opening one takes longer than a small query."""

from functools import cache

import duckdb


@cache
def duckdb_connection() -> duckdb.DuckDBPyConnection:
    """Return the process's connection to an empty database in memory; a registered table replaces its namesake.

    It uses one thread: most inputs have a few rows, and the tests run in two processes.
    """
    return duckdb.connect(config={"threads": 1})
