"""In which order classes of a table come, where their order counts: said by the user, or by both tables alike."""

from __future__ import annotations

from collections.abc import Sequence

from medvfm.core.errors import PredictionError


def refuse_silent(classes: Sequence[str], where: str) -> None:
    """A truth of rows does not say which class is the lowest."""
    raise PredictionError(
        "the rows of this truth do not say in which order the classes come",
        where=where,
        remedy=f"--classes names them from the lowest to the highest: {_example(classes)}",
    )


def refuse_torn(truth: Sequence[str], predictions: Sequence[str], where: str) -> None:
    """Columns of truth and predictions that come in different orders, of which one is that of the alphabet at best."""
    if list(truth) != list(predictions):
        raise PredictionError(
            f"the columns of the truth come as {', '.join(truth)}, and those of the predictions as "
            f"{', '.join(predictions)}",
            where=where,
            remedy=f"--classes says which order is meant, from the lowest to the highest: {_example(predictions)}",
        )


def _example(classes: Sequence[str]) -> str:
    """Numbers by their size, words as they stand."""
    whole = all(name.strip().lstrip("-").isdigit() for name in classes)
    ordered = sorted(classes, key=int) if whole else list(classes)
    return f"for example --classes {','.join(ordered)} if {ordered[0]} is the lowest and {ordered[-1]} the highest"
