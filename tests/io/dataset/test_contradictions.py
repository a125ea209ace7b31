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
from medvfm.io.dataset.leakage import pixel_key

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


def test_one_question_with_two_answers():
    asked = {"question": "Is there a nodule?"}
    cases = [case("a", **asked, answer="yes"), case("b", question="is there  a nodule", answer="No.")]
    (found,) = contradictions.labels_apart(cases, SAME)
    assert "the same question and different answers" in found and "a and b (Is there a nodule? yes and No.)" in found
    assert [c.case_id for c in contradictions.prints_of(cases, ["1", "1"])] == ["a", "b"]
    same = [case("a", **asked, answer="yes"), case("b", **asked, answer="Yes")]
    later = [case("a", **asked, answer="yes"), case("b", **asked, answer="no", turns=(("q", "r"),))]
    for none in (same, later):
        assert contradictions.labels_apart(none, SAME) == []


def test_one_picture_with_two_masks(tmp_path):
    files = {name: tmp_path / name for name in ("one.png", "copy.tif", "other.png")}
    for name, path in files.items():
        Picture.fromarray(np.eye(9, k=name.startswith("other"), dtype=np.uint8)).save(path)

    def masked(name: str, file: str) -> Case:
        return Case(name, "p", {"image": (Path(f"{name}.png"),)}, masks={"mask": (files[file],)})

    two = [masked("a", "one.png"), masked("b", "other.png")]
    (found,) = contradictions.masks_apart(two, SAME)
    assert found.startswith("1 pair of cases with the same pixels and different masks") and found.endswith(": a and b.")
    assert [c.case_id for c in contradictions.prints_of(two, ["1", "1"])] == ["a", "b"]
    for none in ([masked("a", "one.png"), masked("b", "copy.tif")], [masked("a", "one.png"), case("b")],
                 [masked("a", "one.png"), masked("c", "other.png")]):  # fmt: skip
        assert contradictions.masks_apart(none, SAME) == []


def test_pixels_are_the_same_however_they_are_stored():
    grey = np.random.default_rng(0).integers(0, 256, (8, 6, 1)).astype(np.uint8)
    grey[0] = 255
    stored = [grey, grey.astype(np.uint16) * 257, grey.astype(np.float32), np.repeat(grey[..., None], 3, axis=-1)]
    assert len({pixel_key(voxels) for voxels in stored}) == 1
    coloured = stored[-1].copy()
    coloured[0, 0, 0, 1] = 7
    others = [coloured, grey.astype(np.uint16) * 256, grey + np.uint8(1), grey.transpose(1, 0, 2)]
    assert len({pixel_key(voxels) for voxels in [grey, *others]}) == 5


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
