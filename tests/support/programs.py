"""Finds programs of the operating system that some tests need in PATH; without them the test fails."""

import shutil

import pytest


def needed(package: str, *names: str) -> str:
    """Return the path of the first of these programs that is in PATH.

    Fails the test, naming Debian's package, if there is none: a test that is skipped looks like one that passed.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(f"{' or '.join(names)} is missing: `make test` installs it, or: apt-get install {package}")
    return found
