"""One picture with two answers or two patients, and pictures that are turned away from their masks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from medvfm.core.case import Case
from medvfm.io.dataset import contradictions

SAME = {"a": ["k"], "b": ["k"], "c": ["other"]}


def case(name: str, patient: str | None = "p", x: float = 1.0, **more) -> Case:
    return Case(name, patient, {"image": (Path(f"{name}.png"),)}, {"x": x}, **more)


def test_one_picture_with_two_labels():
    found = contradictions.labels_apart([case("a"), case("b", x=0), case("c", x=0)], SAME)
    assert found == [
        "1 pair of cases with the same pixels and different labels, so that one of them is wrong: a and b (x: 1 and 0)."
    ]


@pytest.mark.parametrize(
    "cases",
    [
        [case("a"), case("b")],
        [case("a"), case("b", x=math.nan)],
        [case("a"), case("c", x=0)],
        [case("a", question="q?"), case("b", x=0, question="r?")],  # questions on one image
        [case("a", laterality="L"), case("b", x=0, laterality="R")],  # sides of one image
    ],
)
def test_what_is_no_contradiction(cases):
    assert contradictions.labels_apart(cases, SAME) == []


def test_one_picture_of_two_patients():
    found = contradictions.patients_apart([case("a"), case("b", "q")], SAME)
    assert found == ["1 pair of cases with the same pixels and different patients: a and b."]
    assert contradictions.patients_apart([case("a", None), case("b", None)], SAME) == []


def test_which_cases_are_looked_at_in_full():
    cases = [case("a"), case("b"), case("c", x=0), case("d", "q"), case("e")]
    assert [c.case_id for c in contradictions.prints_of(cases, ["1", "1", "2", "3", None])] == []
    assert [c.case_id for c in contradictions.prints_of(cases, ["1", "2", "1", "2", None])] == ["a", "c", "b", "d"]


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
@pytest.mark.parametrize(("of_picture", "of_mask", "told"), [(6, 1, True), (1, 8, True), (6, 6, False), (1, 1, False)])
def test_a_picture_that_exif_turns_beside_a_mask_that_it_does_not(tmp_path, kind, of_picture, of_mask, told):
    def save(path: Path, turn: int) -> Path:
        pixels = np.zeros((20, 20), np.uint8)
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, turn, True)])
        else:
            exif = Picture.Exif()
            exif[0x0112] = turn
            Picture.fromarray(pixels).save(path, exif=exif)
        return path

    one = Case("a", "p", {"image": (save(tmp_path / f"i.{kind}", of_picture),)},
               masks={"mask": (save(tmp_path / "m.png", of_mask),)})  # fmt: skip
    found = contradictions.turned_apart([one])
    assert bool(found) == told
    assert not told or ("EXIF" in found[0] and "a." in found[0])
    assert contradictions.turned_apart([Case("a", "p", one.images)]) == []
