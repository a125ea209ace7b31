"""Which questions are closed, what can be answered, whose images are exchanged, and the most common answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.tasks.question_answering import baselines
from medvfm.tasks.question_answering.question_form import form_of

PLANES = ("axial", "oblique axial", "sagittal")


@pytest.mark.parametrize(
    ("question", "kind", "truth", "listed", "closed", "options"),
    [
        ("q", "CLOSED ", "yes", {}, True, ("yes", "no")),
        ("q", "closed", "diffuse", {}, True, None),
        ("Is it yes or no?", "OPEN", "yes", {}, False, None),
        ("q", "presence", "No.", {}, True, ("yes", "no")),
        ("How: axial, oblique axial or sagittal?", "plane", "axial", {}, True, PLANES),
        ("On which side?", "side", "left", {}, False, None),
        ("On which side?", "side", "left", {"side": ("left", "right")}, True, ("left", "right")),
        ("On which side?", " side ", "both", {"side": ("left", "right")}, True, None),
        (None, None, "two lesions", {}, False, None),
    ],
)
def test_what_makes_a_question_closed(question, kind, truth, listed, closed, options):
    form = form_of(question, kind, truth, listed)
    assert (form.closed, form.options) == (closed, options)


def case(number, owner, image, question="q", answer="yes", kind="presence"):
    return Case(f"c{number}", owner, {"image": (Path(image),)}, question=question, answer=answer, question_type=kind)


@pytest.mark.parametrize("images", [[1] * 6, [3, 1, 2, 2, 1, 3], [4, 1, 1, 1, 1]])
def test_images_are_permuted_and_nobody_keeps_one_of_his_own(images):
    cases = [
        case(3 * k + q, f"p{p}", f"{p}-{i}.png", f"question {q}")
        for k, (p, i) in enumerate((p, i) for p, n in enumerate(images) for i in range(n))
        for q in range(3)
    ]
    drawn = set()
    for seed in range(8):
        places = baselines.places_of_others(cases, np.random.default_rng(seed))
        seen = [cases[int(place)] for place in places]
        assert all(own.patient_id != other.patient_id for own, other in zip(cases, seen, strict=True))
        given = {own.files: other.files for own, other in zip(cases, seen, strict=True)}
        assert sorted(given.values()) == sorted(given)  # a permutation of images
        assert all(given[own.files] == other.files for own, other in zip(cases, seen, strict=True))
        drawn.add(tuple(places.tolist()))
    assert len(drawn) > 4


def test_one_patient_alone_still_gets_other_images_of_his():
    cases = [case(n, "p", f"{n}.png") for n in range(4)]
    places = baselines.places_of_others(cases, np.random.default_rng(0))
    assert sorted(places.tolist()) == [0, 1, 2, 3] and (places != np.arange(4)).all()
    assert baselines.places_of_others([], np.random.default_rng(0)).tolist() == []


def test_majority_goes_from_the_question_to_its_beginning_to_its_type_to_all():
    train = [case(n, "p", "a", "Is there a lesion?", a) for n, a in enumerate(["Yes", "yes.", "no", "yes."])]
    train += [case(9, "p", "a", "Is there air?", "no"), case(10, "p", "a", "Which plane?", "axial", "plane")]
    train += [case(20 + n, "p", "a", f"What is at {n}?", "left lobe", "place") for n in range(9)]
    train += [case(40, "p", "a", "Is there a lesion?", None)]
    made = baselines.MajorityAnswer(lambda c: c.answer)
    made.fit_items([Item(c) for c in train])
    asked = [
        ("is there a lesion", "presence", "yes."),  # its own answers, as most wrote it
        ("Is there fluid?", "presence", "yes."),  # begins alike
        ("Where?", "place", "left lobe"),  # the type
        ("Which plane?", "plane", "left lobe"),  # one answer is too few, and so is the type: all
    ]
    answers = made.answer([Item(case(90, "p", "a", question, None, kind)) for question, kind, _ in asked])
    assert answers == [said for *_, said in asked]
    assert baselines.MajorityAnswer(lambda c: c.answer).answer([Item(train[0])]) == [""]


def test_questions_of_an_image_belong_together_where_patients_are_unknown():
    assert [Case("c", owner, {}, image_id=image).owner for owner, image in (("p", "i"), (None, "i"), (None, None))] == [
        "p", "i", "c",
    ]  # fmt: skip
