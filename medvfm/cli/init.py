"""`medvfm init`: a card and a recipe from one's own files. Nothing heavy is imported before the command needs it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def init(
    given: Annotated[Path, typer.Argument(metavar="FOLDER|TABLE", help="images with a table or masks, or the table")],
    task: Annotated[
        str | None, typer.Option(help="classification, segmentation, retrieval or question_answering")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="where card.yaml and recipe.yaml go; default: the folder")] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            help="the column that names the patient; a regular expression with one group, for the files' names; "
            "file: no patient has two images; none: nobody knows"
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="the column of the label, several of yes and no with commas between, or names of mask values"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a card.yaml and recipe.yaml")] = False,
) -> None:
    """A card and a recipe proposed from your own files: medvfm init my_study

    What cannot be seen is asked; a patient is never guessed. Where nobody can answer, it exits 2 and says what to say.
    """
    from medvfm.pipeline import proposing
    from medvfm.pipeline.proposing.found import Told

    written = proposing.propose(given, Told(task, patient, label), _ask, out, overwrite=overwrite)
    for line in written.lines:
        print(line)
    print(f"\nwritten: {written.card}, {written.recipe}: read both, and mend what is wrong. Then")
    print(f"  medvfm check {shlex.quote(str(written.recipe))} --ready")
    print(f"  medvfm run {shlex.quote(str(written.recipe))}")


def _ask(question: str, choices: Sequence[str]) -> str | None:
    """The answer of a person at a terminal; None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    listed = f" [{', '.join(choices)}]" if choices else ""
    while True:
        answer = str(typer.prompt(f"{question}{listed}", err=True)).strip()
        if not choices or answer in choices or "(" in answer:
            return answer
        print(f"no {answer!r}", file=sys.stderr)
