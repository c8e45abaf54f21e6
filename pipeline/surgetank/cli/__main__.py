"""``python -m surgetank.cli`` is the console script."""

from surgetank.cli import main

main()
