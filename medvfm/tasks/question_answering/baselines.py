"""What an answer must beat: the most common training answer, and the same model with images of other patients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.protocols import Batch, Exchange, Preparer, Record
from medvfm.metrics.answer_words import plain
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.question_answering.question_form import spelled_type
from medvfm.tasks.untrained import NoImages, UntrainedBaseline

BUILT_IN = {  # for `medvfm list baselines`
    "majority": "the most common training answer to the same question, else to questions of its type that begin alike",
    "shuffled": "the model asked the same questions of the images of other patients, the mean of several permutations",
}
LEAST = 3  # training answers to a question before its own most common one counts
FIRST_WORDS = 2


@dataclass
class _Counts:
    """Answers by how they are compared, each as it was written most often."""

    spellings: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, answer: str) -> None:
        self.spellings[plain(answer)][answer] += 1

    @property
    def size(self) -> int:
        return sum(map(Counter.total, self.spellings.values()))

    def most_common(self) -> str:
        """Of equally common ones the first of the alphabet."""
        best = min(self.spellings.items(), key=lambda entry: (-entry[1].total(), entry[0]))[1]
        return min(best, key=lambda spelling: (-best[spelling], spelling))


class MajorityAnswer(UntrainedBaseline):
    """The most common training answer to the same question where it has LEAST, else to questions of the same type with
    the same first two words, else of the same type, else to any."""

    answers_at_once = 64

    def __init__(self, truth_of: Callable[[Case], str | None]) -> None:
        self.preparer: Preparer = NoImages()
        self.module, self._truth_of = nn.Module(), truth_of
        self._counts: defaultdict[tuple[str, ...], _Counts] = defaultdict(_Counts)

    def collate(self, examples: Sequence[Item]) -> Batch:
        return {"cases": [item.case for item in examples]}

    def fit_items(self, items: Iterable[Item]) -> Record:
        for item in items:
            truth = self._truth_of(item.case)
            if truth is not None:
                for level in _levels(item.case):
                    self._counts[level].add(truth)
        return {"choice": {"questions": sum(level[0] == "question" for level in self._counts)}}

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[str]:
        return [self._of(item.case) for item in items]

    def _of(self, case: Case) -> str:
        levels = _levels(case)
        for level in levels[:-1]:
            if level in self._counts and self._counts[level].size >= LEAST:
                return self._counts[level].most_common()
        return self._counts[levels[-1]].most_common() if levels[-1] in self._counts else ""


def exchanged_images() -> Exchange:
    """The model asked again, every question with the images of another patient."""
    return Exchange(places_of_others, asked, _given)


def places_of_others(cases: Sequence[Case], rng: np.random.Generator) -> Array:
    """(n,) for each case the place of a case whose images it gets: all questions of an image get the same other image.

    Images are put in an order by chance in which those of a patient lie together, and each gets the one that lies as
    many places on as the patient with the most images has. No patient keeps one, unless he or she has more than half.
    """
    image_of = [_image(case) for case in cases]
    first = {name: place for place, name in reversed(list(enumerate(image_of)))}
    by_owner: defaultdict[str, list[str]] = defaultdict(list)
    for name, place in sorted(first.items(), key=lambda entry: entry[1]):
        by_owner[cases[place].owner].append(name)
    owners = list(by_owner)
    order = [
        by_owner[owners[int(o)]][int(k)]
        for o in rng.permutation(len(owners))
        for k in rng.permutation(len(by_owner[owners[int(o)]]))
    ]
    step = min(max(map(len, by_owner.values()), default=0), max(len(order) // 2, 1))
    other = {name: order[(place + step) % len(order)] for place, name in enumerate(order)}
    return np.array([first[other[name]] for name in image_of], dtype=int)


def asked(case: Case) -> str:
    """What decides an answer besides the image."""
    return f"{case.question}\n{case.question_type}\n{case.text}"


def _given(predictions: PerCaseValues) -> list[str]:
    return [str(text) for text in predictions.table["answer"][:, 0]]


def _image(case: Case) -> str:
    return "|".join(map(str, case.files)) or case.image_id or case.case_id


def _levels(case: Case) -> list[tuple[str, ...]]:
    """From the question itself to all questions."""
    question, kind = plain(case.question or ""), spelled_type(case.question_type)
    begins = tuple(question.split()[:FIRST_WORDS])
    return [("question", question, kind), ("begins", *begins, kind), ("type", kind), ("all",)]
