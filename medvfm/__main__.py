"""`python -m medvfm`: the same as the command."""

from medvfm.cli import main

main()
