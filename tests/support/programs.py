"""Finds programs of the operating system that some tests need in PATH, or skips the test."""

import shutil

import pytest


def needed(package: str, *names: str) -> str:
    """Return the path of the first of these programs that is in PATH.

    Skips the test, naming Debian's package, if there is none. CI installs the packages and fails on a skip.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{' or '.join(names)} is missing: install Debian's package {package}")
    return found
