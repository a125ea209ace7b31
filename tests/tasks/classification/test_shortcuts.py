"""The shortcut audit finds a planted shortcut, and is quiet where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from medvfm.core.case import Case
from medvfm.core.image import Image
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.core.recipe_sections import Confidence
from medvfm.engine import shortcuts as auditing
from medvfm.engine.evaluate import Judging
from medvfm.io.virtual_brain import patients
from medvfm.tasks.classification import shortcuts
from medvfm.tasks.classification.task import ClassificationTask

TASK = ClassificationTask(("lesion",), "binary", "patient", "mean")
MODEL = 0.84  # AUROC of the quickstart's model
TRAIN = 120
COUNT = 216


class Listed:
    """See core.protocols.TrueCases."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def case(self, place: int) -> Case:
        return self.cases[place]


def cohort(seed: int, planted: bool) -> list[Case]:
    """Patients of virtual_brain in random order; planted: 17 of 20 with a lesion were on scanner A, the others not."""
    rng = np.random.default_rng(seed)
    found = []
    for number in rng.permutation(COUNT) + 1:
        patient = patients.draw(seed, int(number))
        lesion = bool(patient.lesions)
        scanner = ("A" if lesion == (rng.random() < 0.85) else "B") if planted else patient.scanner
        groups = {"sex": patient.sex, "scanner": scanner, "plane": "axial"}
        found.append(Case(patient.name, patient.name, {}, targets={"lesion": float(lesion)}, groups=groups))
    return found


def warned(seed: int, planted: bool) -> list[str]:
    """Warnings of an audit whose numbers of images are of no lesion: drawn at random."""
    cases = cohort(seed, planted)
    rng = np.random.default_rng([seed, 1])
    sizes = {"border": 64, "histogram": 34, "size": 4}
    read = {c.case_id: {part: rng.normal(size=n) for part, n in sizes.items()} for c in cases}
    probes = list(TASK.audit(Listed(cases[:TRAIN]), Listed(cases[TRAIN:]), read))
    spec = parse("auroc", TASK.metrics)
    judging = Judging(TASK, [spec], Confidence(resamples=100), 0)
    strict = auditing.strict(judging, len(probes))
    rows = [(what, strict.rows(table, Points())) for _, what, table in probes]
    assert {name for name, _, _ in probes} == {
        "image border", "intensity histogram", "image and file size", "scanner and site", "patient number order"
    }  # fmt: skip  # the plane is the same for all
    return auditing.warnings(spec, [SimpleNamespace(target="lesion", value=MODEL)], rows)


def test_a_scanner_that_goes_with_the_lesion_is_found():
    for seed in range(3):
        said = warned(seed, planted=True)
        assert len(said) == 1 and re.search(r"the column scanner alone reached an AUROC of 0\.[89]", said[0])


def test_without_a_shortcut_it_is_quiet_for_19_of_20_seeds():
    assert sum(warned(seed, planted=False) != [] for seed in range(20)) <= 1


def test_the_border_is_that_of_the_image_and_nothing_of_its_middle():
    rng = np.random.default_rng(0)
    pixels = rng.random((100, 80, 1)).astype(np.float32) * 255
    changed = pixels.copy()
    changed[10:90, 10:70] = 0  # the middle
    affine = np.eye(4)
    one, other = (shortcuts.border(Image(p, affine, "arbitrary"), (0.0, 255.0)) for p in (pixels, changed))
    assert one.shape == (4 * shortcuts.SEGMENTS * 2,) and np.isfinite(one).all()
    assert np.array_equal(one, other)
    changed[:3] = 255
    assert not np.array_equal(one, shortcuts.border(Image(changed, affine, "arbitrary"), (0.0, 255.0)))


@pytest.mark.parametrize(("name", "number"), [("P-0012", 12), ("VB0007", 7), ("anna", None), (None, None)])
def test_the_number_of_a_patient_is_that_of_its_digits(name, number):
    assert shortcuts.number_of(Case("c", name, {})) == number
