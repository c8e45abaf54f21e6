"""`python -m ops.bench` is `surgetank bench`."""

import sys

from pipeline.cli import main

sys.argv.insert(1, "bench")
main()
