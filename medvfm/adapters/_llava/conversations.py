"""From a case to the conversation that is trained on, or asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.models.language.chat import IMAGE, Turn

DESCRIBE = (  # after Liu et al. 2023, table 11
    "Describe the image concisely.",
    "Provide a brief description of the given image.",
    "Offer a succinct explanation of the picture presented.",
    "Summarize the visual content of the image.",
    "Give a short and clear explanation of the subsequent image.",
    "Share a concise interpretation of the image provided.",
    "Present a compact description of the photo's key features.",
    "Relay a brief, clear account of the picture shown.",
    "Render a clear and concise summary of the photo.",
    "Write a terse but informative summary of the picture.",
    "Create a compact narrative representing the image presented.",
)
REPORT = "Write the report of this image."


@dataclass(frozen=True)
class Conversations:
    """instruction: what every question ends with, such as `Answer with one word.`; None for nothing.
    images_last: images stand after the question, not before it
    """

    instruction: str | None = None
    images_last: bool = False

    def caption(self, case: Case, rng: np.random.Generator, images: int = 1) -> list[Turn]:
        """The text of a case as the answer to one of DESCRIBE, drawn anew each time."""
        if not (case.text or "").strip():
            raise DataError(
                f"{case.case_id} has no text, and align trains on captions",
                remedy="name data with texts under `data` of the stage, or leave the stage out",
            )
        asked = self._shown(DESCRIBE[int(rng.integers(len(DESCRIBE)))], images)
        return [Turn(asked, (case.text or "").strip())]

    def answered(self, case: Case, images: int = 1) -> list[Turn]:
        """The question with its answer; without a question the report is what is asked for."""
        answer = case.answer if case.answer is not None or case.question else case.text
        if not (answer or "").strip():
            raise DataError(f"{case.case_id} has no answer to train on", remedy="leave such cases out of the table")
        return [Turn(self._question(case, images), (answer or "").strip())]

    def asked(self, case: Case, images: int = 1) -> list[Turn]:
        return [Turn(self._question(case, images))]

    def _question(self, case: Case, images: int) -> str:
        said = (case.question or REPORT).strip()
        return self._shown(said if self.instruction is None else f"{said} {self.instruction}", images)

    def _shown(self, question: str, images: int) -> str:
        """Images stand before the first question unless it says where; one that does is taken at its word."""
        if not self.images_last or IMAGE in question:
            return question
        return question + f"\n{IMAGE}" * images


def counted_once(keys: Sequence[object]) -> tuple[list[int], list[int]]:
    """Rows of which no two are the same, and for each row of `keys` its place among them."""
    first: dict[object, int] = {}
    places = [first.setdefault(key, len(first)) for key in keys]
    rows = [places.index(n) for n in range(len(first))]
    return rows, places
