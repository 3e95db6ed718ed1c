"""`python -m talea`."""

from talea.cli import main

main()
