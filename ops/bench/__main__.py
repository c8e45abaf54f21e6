"""`python -m ops.bench` is `surgetank bench`."""

import sys

from surgetank.cli import main

sys.argv.insert(1, "bench")
main()
