"""One exception family: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MedvfmError(Exception):
    """An error that the user's input caused. The command line prints it as one message and exits 2.

    `what` says what is wrong, `where` names the file, line or key, `remedy` says what to do.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, None if where is None else str(where), remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.remedy}" if self.remedy else text

    def __reduce__(self):  # keyword arguments survive the trip from a loader worker
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[MedvfmError], what: str, where: str | None, remedy: str | None) -> MedvfmError:
    return kind(what, where=where, remedy=remedy)


class RecipeError(MedvfmError):
    """The recipe, or an override of it, does not say something that can be run."""


class DataCardError(MedvfmError):
    """The data card is wrong, or the files under its root are not laid out as it says."""


class DataError(MedvfmError):
    """The data as a whole cannot be used: leakage, no readable case, a table that contradicts itself."""


class UnreadableImage(MedvfmError):
    """One image cannot be read correctly, so it is not read at all."""


class WeightsError(MedvfmError):
    """Weights are missing, of another layout, or hold keys that the model does not account for."""


class PredictionError(MedvfmError):
    """A table or file of predictions cannot be scored as it stands."""


class RunError(MedvfmError):
    """A run directory is missing, incomplete, or not what the command needs."""


def nearest(name: object, choices: Iterable[str]) -> str:
    """`did you mean 'sam'? One of: clip, dinov2, sam`, for the tail of a refusal."""
    known = sorted(choices)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    listed = f"one of: {', '.join(known)}" if known else "there is none"
    return f"did you mean {close[0]!r}? {listed[0].upper()}{listed[1:]}" if close else listed


class Undefined(Exception):
    """A number does not exist for these cases; the message is the reason that the row's note gives.

    Not a MedvfmError: the user did nothing wrong, and the run goes on with null in that row.
    """
