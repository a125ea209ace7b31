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


def refuse_numbers_by_text(classes: Sequence[str], where: str) -> None:
    """Grades that are whole numbers and stand in the order of their digits: 0, 1, 10, 2."""
    if _are_numbers(classes) and list(classes) != sorted(classes, key=int) and list(classes) == sorted(classes):
        raise PredictionError(
            f"the grades come in the order of text, and not of numbers: {', '.join(classes)}",
            where=where,
            remedy=f"--classes says which order is meant: {_example(classes)}",
        )


def doubts(classes: Sequence[str]) -> list[str]:
    """A note on words that come as in the alphabet, which is seldom the order of grades."""
    words = not any(character.isdigit() for name in classes for character in name)
    if words and len(classes) > 2 and max(map(len, classes)) > 1 and list(classes) == sorted(classes, key=str.lower):
        listed = ", ".join(classes)
        return [f"The grades come as in the alphabet, perhaps not by severity: {listed}; --classes says another order."]
    return []


def _are_numbers(classes: Sequence[str]) -> bool:
    return all(name.strip().lstrip("-").isdigit() for name in classes)


def _example(classes: Sequence[str]) -> str:
    """Numbers by their size, words as they stand."""
    ordered = sorted(classes, key=int) if _are_numbers(classes) else list(classes)
    return f"for example --classes {','.join(ordered)} if {ordered[0]} is the lowest and {ordered[-1]} the highest"
