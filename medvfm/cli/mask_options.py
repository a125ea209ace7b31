"""Options that say what the values of masks mean, the same for every command that scores masks."""

from __future__ import annotations

from typing import Annotated

import typer

Labels = Annotated[
    str | None, typer.Option("--labels", help="names of values of masks: 1=liver,6=spleen, a table or a card")
]
PredictedLabels = Annotated[
    str | None, typer.Option("--predicted-labels", help="the same for predictions whose values differ")
]
Background = Annotated[
    str, typer.Option("--background", help="values of masks that are no structure, separated by commas")
]
