"""Captions, questions and answers about simulated scans; all of them can be seen in the images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medvfm.io.virtual_brain.patients import LARGEST_MM, SIDES, Patient

WIDE_ML = 19.0  # the median volume of the lateral ventricles
MOST_COMMON = 0.6  # at most this share of a question's answers is one and the same
_NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class Question:
    case: int  # row of the cases table
    kind: str
    question: str
    answer: str


def side(patient: Patient) -> str:
    """`left`, `right`, `both` or `none`: where the lesions lie."""
    found = {lesion.side for lesion in patient.lesions}
    return "none" if not found else "both" if len(found) == len(SIDES) else found.pop()


def caption(patient: Patient, plane: str, ventricles_ml: float) -> str:
    """A report in three sentences; the number, side and size of lesions, and the ventricles in ml to one decimal."""
    count = len(patient.lesions)
    if not count:
        finding = "No lesion in white matter."
    else:
        largest = patient.lesions[0]
        where = {"both": "both hemispheres"}.get(side(patient), f"the {side(patient)} hemisphere")
        size = f"{largest.diameter_mm:.1f} mm"
        if count == 1:
            finding = f"One dark lesion of {size} in the white matter of {where}."
        else:
            finding = (
                f"{_NUMBERS[count].capitalize()} dark lesions in the white matter of {where}; "
                f"the largest measures {size} and lies on the {largest.side}."
            )
    return (
        f"Simulated T1-weighted MRI of the brain in {plane} slices. {finding} "
        f"The lateral ventricles hold {ventricles_ml:.1f} ml."
    )


def slice_caption(shows_lesion: bool, are_large: bool) -> str:
    """What one slice shows: `a lesion, large ventricles`, `no lesion, small ventricles`."""
    return f"{'a' if shows_lesion else 'no'} lesion, {'large' if are_large else 'small'} ventricles"


def questions(
    case: int,
    patient: Patient,
    plane: str,
    ventricles_ml: float,
    largest_mm: tuple[float, float] = LARGEST_MM,
) -> list[Question]:
    """The questions about one scan; those about the kind of lesion only where there is one.

    largest_mm  between which largest lesions of the cohort lie: their size is asked about by its middle
    """
    large_mm = sum(largest_mm) / 2
    asked = [
        ("presence", "Is there a lesion in the white matter?", _yes(bool(patient.lesions))),
        ("plane", "How do the slices lie: axial, oblique axial or sagittal?", plane),
        ("ventricles", f"Do the lateral ventricles hold more than {WIDE_ML} ml?", _yes(ventricles_ml > WIDE_ML)),
    ]
    if patient.lesions:
        largest = patient.lesions[0]
        asked += [
            ("side", "On which side does the largest lesion lie?", largest.side),
            ("number", "How many lesions are there?", _NUMBERS[len(patient.lesions)]),
            ("spread", "Are there lesions in both hemispheres?", _yes(side(patient) == "both")),
            ("size", f"Is the largest lesion longer than {large_mm} mm?", _yes(largest.diameter_mm > large_mm)),
        ]
    return [Question(case, *texts) for texts in asked]


def balanced(asked: Sequence[Question]) -> list[Question]:
    """Without the last questions whose answer is so common that more than `MOST_COMMON` of a template have it.

    The cohort is drawn so that nothing is left out of a large one; in a small one chance is not so even.
    """
    by_template = defaultdict(list)
    for question in asked:
        by_template[question.question].append(question)
    left_out = set()
    for same in by_template.values():
        counts = Counter(q.answer for q in same)
        kept = list(same)
        while kept:
            answer, often = counts.most_common(1)[0]
            if often <= MOST_COMMON * len(kept):
                break
            last = max(n for n, q in enumerate(kept) if q.answer == answer)
            left_out.add(id(kept.pop(last)))
            counts[answer] -= 1
    return [q for q in asked if id(q) not in left_out]


def _yes(true: bool) -> str:
    return "yes" if true else "no"
