"""``python -m pipeline.cli`` is the console script."""

from pipeline.cli import main

main()
