"""python -m medvfm.cli is the same as the command medvfm."""

from __future__ import annotations

from medvfm.cli import main

main()
