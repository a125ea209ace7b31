"""Combinations that are held out: who may train, how they are called, and what is beside them."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.case import Case
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.tasks.generation import held_out
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.options import GenerationOptions
from medvfm.tasks.generation.task import METRICS, GenerationTask


def task(*combinations):
    options = GenerationOptions.model_validate({"held_out": combinations, "per_condition": False})
    return GenerationTask(("lesion", "large"), options)


def case(lesion=None, large=None, **groups):
    targets = {n: float(v) for n, v in (("lesion", lesion), ("large", large)) if v is not None}
    return Case("c", None, {}, targets=targets, groups=groups)


def test_only_cases_known_to_differ_train():
    both = task({"lesion": True, "large": False})
    assert not both.learns_from(case(1, 0)) and both.learns_from(case(1, 1)) and both.learns_from(case(0, 0))
    assert not both.learns_from(case(1)) and both.learns_from(case(0))  # an unknown label may be the one
    of_sex = task({"lesion": True, "sex": "F"}, {"large": True, "age": 63})
    assert not of_sex.learns_from(case(1, 0, sex="F", age=50.0)) and of_sex.learns_from(case(1, 0, sex="M", age=63.0))
    assert not of_sex.learns_from(case(0, 1, sex="M", age=63.0)) and not of_sex.learns_from(case(1, 0, age=50.0))
    assert [c.name for c in of_sex.held_out] == ["lesion+sex F", "large+age 63"]
    assert both.held_out[0].name == "lesion+no large" and task().learns_from(case())


@pytest.mark.parametrize("reference", [False, True])
def test_a_class_is_sought_beside_images_that_differ_in_it_alone(reference):
    """Scores of lesion tell it where ventricles are large, and tell nothing elsewhere: only the former are compared."""
    asked = task({"lesion": True, "large": True})
    labels = np.array([[n // 10 % 2, n // 20] for n in range(40)], float)
    scores = np.where(labels[:, 1:] == 1, labels, 1 - labels)
    cases = [case(*map(int, row)) for row in labels]
    met = held_out.met(cases, asked.held_out)
    np.testing.assert_array_equal(met, labels)
    owners = np.array([f"p{n}" for n in range(40)], dtype=object)
    ids = tuple(f"c{n}" for n in range(40))
    rng = np.random.default_rng(0)
    right = ImageSet(ids, owners, rng.normal(size=(40, 3)), labels, scores, met=met)
    without = (labels != 1).any(axis=1)  # training images, of which none shows it
    other = ImageSet(ids, owners, rng.normal(size=(40, 3)), labels, 1 - scores, met=met)
    other = other.rows(np.flatnonzero(without)) if reference else other
    made, real = (other, right) if reference else (right, other)
    nothing = np.array([""] * len(made), dtype=object)
    sets = MadeSet(made, real, nothing, np.zeros(len(made), int), nothing, reference=reference)
    (view,) = asked.views(sets).values()
    assert len(view.made) == len(view.real) == 10
    specs = [parse(name, METRICS) for name in ("condition_auroc", "usefulness_auroc")]
    found = {(e.metric.name, e.target): e for e in asked.estimands(view, specs, Points())}
    assert found["condition_auroc", "lesion"].value == 1.0 and found["condition_auroc", "lesion"].positives == 10
    assert "beside 10 images" in found["condition_auroc", "lesion"].notes[0]
    assert "learns from all images" in found["usefulness_auroc", "lesion"].reason
    (whole,) = (e for e in asked.estimands(sets, specs[:1], Points()) if e.target == "lesion")
    assert whole.value == 0.5
