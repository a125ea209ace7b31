"""From a case to the conversation that is trained on, or asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def caption(self, case: Case, rng: np.random.Generator, images: Sequence[int] = (1,)) -> list[Turn]:
        """The text of a case as the answer to one of DESCRIBE, drawn anew each time."""
        said = (case.text or "").strip()
        if not said:
            raise DataError(
                f"{case.case_id} has no text, and align trains on captions",
                remedy="name data with texts under `data` of the stage, or leave the stage out",
            )
        return self._shown(case, [Turn(DESCRIBE[int(rng.integers(len(DESCRIBE)))], said)], images)

    def answered(self, case: Case, images: Sequence[int] = (1,)) -> list[Turn]:
        """What was said before, and the question with its answer; without a question the report is asked for."""
        answer = case.answer if case.answer is not None or case.question else case.text
        if not (answer or "").strip():
            raise DataError(f"{case.case_id} has no answer to train on", remedy="leave such cases out of the table")
        return self._shown(case, [*self._before(case), Turn(self._question(case), (answer or "").strip())], images)

    def asked(self, case: Case, images: Sequence[int] = (1,)) -> list[Turn]:
        """What was said before, with its answers, and the question."""
        return self._shown(case, [*self._before(case), Turn(self._question(case))], images)

    def _before(self, case: Case) -> list[Turn]:
        return [Turn(self._instructed(question), answer) for question, answer in case.turns]

    def _question(self, case: Case) -> str:
        return self._instructed((case.question or REPORT).strip())

    def _instructed(self, question: str) -> str:
        return question if self.instruction is None else f"{question} {self.instruction}"

    def _shown(self, case: Case, turns: list[Turn], images: Sequence[int]) -> list[Turn]:
        """images: of how many pictures each is. They stand before the first question, or after it, unless questions say
        where; those that do are taken at their word. Without images nothing is said of any."""
        said = sum(turn.question.count(IMAGE) for turn in turns)
        if said and images and said != len(images):
            known = f"{len(images)} image{'s' * (len(images) != 1)}"
            raise DataError(
                f"{case.case_id}: {said} times {IMAGE} in its questions, and {known}",
                remedy=f"say {IMAGE} once for each image, or nowhere",
            )
        if not images:
            return [Turn(_unmarked(turn.question), turn.answer) for turn in turns]
        if not said:
            marks = "".join(f"\n{IMAGE}" * count for count in images) if self.images_last else ""
            return [Turn(turns[0].question + marks, turns[0].answer), *turns[1:]]
        counts = iter(images)
        return [Turn(_repeated(turn.question, counts), turn.answer) for turn in turns]


def _unmarked(question: str) -> str:
    return question.replace(f"{IMAGE}\n", "").replace(f"\n{IMAGE}", "").replace(IMAGE, "").strip()


def _repeated(question: str, counts: Iterator[int]) -> str:
    """Each mark as often as its image has pictures."""
    first, *rest = question.split(IMAGE)
    return first + "".join(IMAGE * next(counts) + part for part in rest)


def counted_once(keys: Sequence[object]) -> tuple[list[int], list[int]]:
    """Rows of which no two are the same, and for each row of `keys` its place among them."""
    first: dict[object, int] = {}
    places = [first.setdefault(key, len(first)) for key in keys]
    rows = [places.index(n) for n in range(len(first))]
    return rows, places
