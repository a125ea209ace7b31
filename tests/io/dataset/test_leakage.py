"""A patient, a file or a picture in two splits is found, whatever it is called; patients are not named."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.io.dataset import leakage
from medvfm.io.read import read_image


def test_a_patient_in_two_splits_stops_and_is_not_named():
    cases = [Case("a", "Secret^Name", {"image": ()}), Case("b", "Secret^Name", {"image": ()})]
    with pytest.raises(
        DataError, match=r"1 patient in two splits, first seen in cases b \(test\) and a \(train\)"
    ) as e:
        leakage.check(cases, {"a": "train", "b": "test"})
    assert "Secret" not in str(e.value)


def test_identical_pixels_in_two_splits_stop_and_are_named(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    cases = [Case(n, n, {"image": (tmp_path / n,)}) for n in "abc"]
    with pytest.raises(DataError, match=r"identical in two splits, first a \(train\) and b \(test\)"):
        leakage.check(cases, {"a": "train", "b": "test", "c": "test"})
    leakage.check(cases, {"a": "train", "b": "train", "c": "test"})
    kept, dropped = leakage.drop(cases, {"a": "train", "b": "test", "c": "test"})
    assert dropped == ["a"]
    assert set(kept) == {"b", "c"}


def test_dropping_leaves_no_leak_with_several_copies(tmp_path):
    for name in "abcd":
        (tmp_path / name).write_bytes(b"same" if name != "d" else b"other")
    cases = [Case(n, n, {"image": (tmp_path / n,)}) for n in "abcd"]
    assigned = {"a": "train", "b": "test", "c": "train", "d": "val"}
    kept, dropped = leakage.drop(cases, assigned)
    assert dropped == ["a", "c"]
    leakage.check([c for c in cases if c.case_id in kept], kept)


def test_one_image_of_several_is_enough_and_folders_count_by_content(tmp_path):
    for folder, files in (("s1", "xy"), ("s2", "yx"), ("s3", "xz")):
        (tmp_path / folder).mkdir()
        for number, content in enumerate(files):
            (tmp_path / folder / f"{number}.dcm").write_bytes(content.encode())
    cases = [
        Case("one", "p1", {"t1": (tmp_path / "s1",), "t2": (tmp_path / "s3",)}),
        Case("two", "p2", {"t1": (tmp_path / "s2",)}),
    ]
    assert leakage.identical(cases, {"one": "train", "two": "val"}) == [("one", "two")]
    assert leakage.identical(cases, {"one": "val", "two": "val"}) == []
    assert leakage.identical(cases, {"one": "val"}) == []  # the other takes no part


def test_the_same_pixels_in_two_formats_are_found(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (12, 10), dtype=np.uint8)
    Picture.fromarray(picture).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", picture.astype(np.uint16))
    Picture.fromarray(picture[:, ::-1]).save(tmp_path / "c.png")
    cases = [Case(n[0], n[0], {"image": (tmp_path / n,)}) for n in ("a.png", "b.tif", "c.png")]
    assigned = {"a": "train", "b": "test", "c": "test"}
    assert leakage.identical(cases, assigned) == []
    pixels = {case.case_id: [leakage.pixel_key(read_image(f).voxels) for f in case.files] for case in cases}
    assert leakage.identical(cases, assigned, pixels) == [("a", "b")]
    with pytest.raises(DataError, match=re.escape("identical in two splits, first a (train) and b (test)")):
        leakage.check(cases, assigned, pixels)
    assert leakage.drop(cases, assigned, pixels) == ({"b": "test", "c": "test"}, ["a"])


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64]
)
def test_pixels_are_the_same_in_every_type(dtype):
    voxels = np.random.default_rng(0).integers(0, 100, (300, 280, 2))
    for key in (leakage.pixel_key, leakage.fingerprint):
        assert key(voxels.astype(dtype)) == key(np.asfortranarray(voxels))
        assert key(voxels.astype(dtype)) != key(voxels[:-1].astype(dtype))
        assert key(voxels.astype(dtype).reshape(280, 300, 2)) != key(voxels)
        halves = voxels.astype(np.float64) + 0.5
        assert key(halves) == key(halves.astype(np.float32)) != key(voxels)
        assert key(-0.0 * voxels.astype(np.float32)) == key(0 * voxels)
    one = voxels.copy()
    one[1, 1, 1] += 1
    assert leakage.pixel_key(one) != leakage.pixel_key(voxels)


def test_an_unreadable_image_does_not_stop_the_search(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    cases = [Case("bad", "p", {"image": (tmp_path / "bad.png",)}), Case("gone", "q", {"image": (tmp_path / "gone",)})]
    assigned = {"bad": "train", "gone": "test"}
    assert leakage.identical(cases, assigned) == []
    assert leakage.identical(cases, assigned, {}) == []


def test_a_study_in_two_splits_stops_and_is_not_named():
    """One patient under two names is still known by the study."""
    cases = [Case(n, f"patient {n}", {"image": ()}, study_id="1.2.840.113619.2.55.3") for n in "ab"]
    with pytest.raises(DataError, match=r"1 study in two splits, first seen in cases b \(test\)") as e:
        leakage.studies(cases, {"a": "train", "b": "test"})
    assert "113619" not in str(e.value)
    leakage.studies(cases, {"a": "test", "b": "test"})
    leakage.studies([replace(c, study_id="study1") for c in cases], {"a": "train", "b": "test"})
