"""Defacing: the brain whole, eyes, nose, mouth and ears gone, on every scanner, and honest where it cannot be done."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from scipy import ndimage

from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.io.deidentify import deface as defacing
from medvfm.io.deidentify.deface import deface, face_mask
from medvfm.io.deidentify.faces import _set_lowest
from medvfm.io.deidentify.folder import deidentify
from medvfm.io.deidentify.head_registration import place_head
from medvfm.io.dicom.read import read_series
from medvfm.io.read import read_image
from medvfm.io.virtual_brain import anatomy, patients
from medvfm.io.virtual_brain import scanner as virtual_scanner
from medvfm.io.virtual_brain.dicom_series import write_mr_series
from medvfm.io.virtual_brain.make import _series
from tests.samples.dicom import dataset, save

pytestmark = pytest.mark.slow
# Anatomy in MNI152 mm, (x, y, z) and radii: painted here, and not taken from the code under test.
FEATURES = {
    "right eye": ((32, 68, -42), (12, 12, 12)),
    "left eye": ((-32, 68, -42), (12, 12, 12)),
    "nose": ((0, 98, -56), (12, 14, 18)),
    "mouth": ((0, 84, -92), (24, 14, 10)),
    "right ear": ((86, -22, -44), (6, 15, 26)),
    "left ear": ((-86, -22, -44), (6, 15, 26)),
}
FLESH = {"face": ((0, 40, -72), (58, 55, 52)), "neck": ((0, -30, -130), (52, 55, 90))}
PATIENTS = {"B": 1, "A": 3, "C": 4}  # of seed 0, one on each scanner


@dataclass(frozen=True, eq=False)
class Subject:
    """A virtual head that was given a face: the scan, its image, and the true voxels of the features."""

    patient: patients.Patient
    scan: virtual_scanner.Scan
    image: Image
    features: dict[str, np.ndarray]

    @property
    def brain(self) -> np.ndarray:
        return self.scan.tissues > 0


def subject(number: int) -> Subject:
    patient = patients.draw(0, number)
    scan = virtual_scanner.scan(patient)
    rotation, scale = anatomy._pose(patient.rng("head"), patient.sex)
    vox = np.stack(np.indices(scan.stored.shape), -1)
    mm = vox @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    at = mm @ (np.diag(1 / scale) @ rotation).T + np.array([0.0, -18.0, 18.0])
    brain_mm = ndimage.distance_transform_edt(scan.tissues == 0, sampling=np.linalg.norm(scan.affine[:3, :3], axis=0))
    stored = scan.stored.copy()
    flesh = float(np.median(stored[scan.tissues > 1]))
    rng = np.random.default_rng(number)
    shapes = {
        name: ((((at - c) / r) ** 2).sum(-1) < 1) & (brain_mm > 12) for name, (c, r) in (FLESH | FEATURES).items()
    }
    for name, mask in shapes.items():
        level = flesh * (0.25 if "eye" in name else 0.9)
        stored[mask] = np.clip(level + 0.04 * flesh * rng.standard_normal(mask.sum()), 0, 4095).astype(np.uint16)
    features = {name: shapes[name] for name in FEATURES}
    return Subject(patient, scan, Image(stored, scan.affine), features)


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    return {scanner: subject(number) for scanner, number in PATIENTS.items()}


@pytest.fixture(scope="module")
def masks(subjects: dict[str, Subject], folder: Path) -> dict[str, np.ndarray]:
    """C's as the DICOM files have it, whose orientations are rounded."""
    images = {scanner: one.image for scanner, one in subjects.items()} | {"C": read_series(folder / "in" / "head")}
    return {scanner: face_mask(image) for scanner, image in images.items()}


@pytest.mark.parametrize("scanner", PATIENTS)
def test_the_brain_is_whole_and_the_features_are_gone(scanner, subjects, masks):
    one, mask = subjects[scanner], masks[scanner]
    assert one.patient.scanner == scanner
    assert not (mask & one.brain).any()
    seen = {name: float(mask[true].mean()) for name, true in one.features.items() if true.sum() > 50}
    assert {"right eye", "left eye"} <= set(seen) and len(seen) >= 4
    assert min(seen.values()) > 0.9, seen
    assert mask.mean() < 0.3


def test_a_ct_of_the_same_head_loses_its_face(subjects):
    one = subjects["A"]
    spacing_mm = np.linalg.norm(one.image.affine[:3, :3], axis=0)
    away_mm = ndimage.distance_transform_edt(~one.brain, sampling=spacing_mm)
    layers = [one.scan.tissues > 1, one.brain, away_mm < 3, away_mm < 9, away_mm < 14]
    hu = np.select(layers, [38, 12, 10, 900, 45], -1000) + np.random.default_rng(0).normal(0, 8, away_mm.shape)
    hu[(one.image.voxels != one.scan.stored) & (away_mm > 9)] = 45
    mask = face_mask(Image(hu.astype(np.int16), one.image.affine, "HU"))
    assert min(float(mask[true].mean()) for true in one.features.values() if true.sum() > 50) > 0.95
    assert (mask & one.brain).sum() < 0.001 * one.brain.sum()  # a CT shows less of where the brain ends


def test_deface_sets_the_lowest_value_and_nothing_else(subjects, masks, monkeypatch):
    image = subjects["B"].image
    monkeypatch.setattr(defacing, "face_mask", lambda _: masks["B"])
    done = deface(image)
    mask = masks["B"]
    assert (done.voxels[mask] == image.voxels.min()).all()
    np.testing.assert_array_equal(done.voxels[~mask], image.voxels[~mask])
    np.testing.assert_array_equal(done.affine, image.affine)
    assert f"face and ears removed: {mask.sum()} voxels" in done.repairs[-1]
    assert done.voxels is not image.voxels


def turned(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> np.ndarray:
    out = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(4)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        out = turn @ out
    out[:3, 3] = shift_mm
    return out


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_a_head_that_is_turned_moved_and_stored_otherwise_loses_the_same_face(subjects, masks):
    one = subjects["A"]
    flip, order = np.diag([1.0, -1.0, -1.0, 1.0]), np.eye(4)[[2, 0, 1, 3]]
    flip[1:3, 3] = np.array(one.image.shape_vox[1:]) - 1
    voxels = one.image.voxels[:, ::-1, ::-1].transpose(2, 0, 1)
    mask = face_mask(Image(voxels, turned((12.0, 6.0, 9.0), (60.0, -45.0, 110.0)) @ one.image.affine @ flip @ order.T))
    back = mask.transpose(1, 2, 0)[:, ::-1, ::-1]
    assert dice(back, masks["A"]) > 0.93
    assert not (back & one.brain).any()
    assert min(float(back[true].mean()) for true in one.features.values() if true.sum() > 50) > 0.85


@pytest.mark.parametrize(
    ("scanner", "wrong"),
    [("B", (1, -1, 1)), ("C", (1, 1, -1)), ("A", (2, 2, 2))],
    ids=["front B", "top C", "size A"],
)
def test_an_affine_that_lies_about_the_head_is_refused(scanner, wrong, subjects):
    """A header that swaps front and back, or top and bottom, would have the wrong end of the head removed."""
    one = subjects[scanner].image
    with pytest.raises(DataError, match="face cannot be found"):
        face_mask(replace(one, affine=np.diag([*wrong, 1.0]) @ one.affine))


def test_what_is_no_head_is_refused(shared_data):
    body = read_image(shared_data / "totalsegmentator_ct" / "example_ct_sm.nii.gz", unit="HU")
    assert place_head(body).doubts
    crops = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:2]
    assert all(place_head(read_image(crop)).doubts for crop in crops)


def test_noise_and_balls_are_refused():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 1000, (64, 64, 64)).astype(np.int16)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    assert place_head(Image(noise, affine)).doubts
    away_mm = 4 * np.linalg.norm(np.stack(np.indices((64, 64, 64)), -1) - 31.5, axis=-1)
    for radius_mm in (40, 110):
        ball = np.where(away_mm < radius_mm, 600, 0) + noise // 50
        assert place_head(Image(ball.astype(np.int16), affine)).doubts, radius_mm
    with pytest.raises(DataError, match="one value"):
        face_mask(Image(np.zeros((32, 32, 32), np.int16), np.diag([6.0, 6.0, 6.0, 1.0])))


# Files of DICOM


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("signed", "slope", "intercept"), [(False, 1, -1024), (True, 1, 0), (False, 2.5, -300), (True, 0.5, 10)]
)
def test_stored_values_become_the_lowest_of_the_volume(tmp_path, big, signed, slope, intercept):
    """Whatever the bytes: what is read again is the lowest value in the mask, and as it was beside it."""
    kind = np.int16 if signed else np.uint16
    stored = np.random.default_rng(0).integers(-500 if signed else 0, 2000, (6, 7)).astype(kind)
    syntax = "1.2.840.10008.1.2.2" if big else "1.2.840.10008.1.2.1"
    ds = dataset(stored, syntax=syntax, RescaleSlope=str(slope), RescaleIntercept=str(intercept))
    path = save(ds, tmp_path / "a.dcm")
    before = read_image(path).voxels
    data = pydicom.dcmread(path)
    mask = np.zeros(stored.shape, bool)
    mask[1:3, 2:5] = True
    lowest = slope * float(stored.min()) + intercept - 3 * slope  # of a slice elsewhere
    if not signed:
        lowest = max(lowest, float(intercept))
    _set_lowest(data, mask.ravel(), lowest)
    data.save_as(path)
    after = read_image(path).voxels
    np.testing.assert_array_equal(after[..., 0].T[~mask], before[..., 0].T[~mask])
    assert (after[..., 0].T[mask] == lowest).all()


# A folder of DICOM files


def write(one: Subject, folder: Path, **more: str) -> None:
    header = _series(one.patient, one.scan)
    header = replace(header, key=f"{header.key}/{more}", more={**header.more, **more})
    scanner = one.scan.scanner
    write_mr_series(
        folder, one.image.voxels, one.scan.affine, header, codec=scanner.codec, last_first=scanner.slices_from_top
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, subjects) -> Path:
    base = tmp_path_factory.mktemp("deface")
    (base / "key").write_text("k" * 64)
    write(subjects["C"], base / "in" / "head")
    cut = subjects["A"]
    part = Subject(cut.patient, cut.scan, Image(cut.image.voxels[40:70, 60:90, 12:20], cut.image.affine), {})
    write(part, base / "in" / "crop", BodyPartExamined="", StudyDescription="", SeriesDescription="T1")
    write(part, base / "in" / "piece", BodyPartExamined="BRAIN")
    shutil.copy(get_testdata_file("CT_small.dcm"), base / "in" / "ct.dcm")
    return base


@pytest.fixture(scope="module")
def report(folder) -> dict:
    deidentify(folder / "in", folder / "out", key=folder / "key", deface=True)
    return json.loads((folder / "out" / "deidentified.json").read_text())


def test_heads_are_defaced_others_named_and_doubtful_heads_left_out(folder, report):
    done = sorted((row["done"], row["files"]) for row in report["faces"])
    assert done == [("defaced", 29), ("left out", 8), ("not a head", 1), ("not a head", 8)]
    assert "Clean Recognizable Visual Features Option" in report["options"]
    (reason,) = report["left_out"]
    assert reason.startswith("a head that cannot be defaced") and report["left_out"][reason] == 8
    rows = list(csv.DictReader((folder / "out" / "deidentified.csv").open()))
    assert sorted(row["face"] for row in rows) == ["defaced"] * 29 + ["not a head"] * 9


def test_pixels_beside_the_face_are_kept_bit_by_bit_with_their_geometry(folder, report, subjects, masks):
    one, series = subjects["C"], next(r["series"] for r in report["faces"] if r["done"] == "defaced")
    place = next((folder / "out").rglob(series))
    before, after = read_series(folder / "in" / "head"), read_series(place)
    changed = before.voxels != after.voxels
    np.testing.assert_array_equal(before.affine, after.affine)
    np.testing.assert_array_equal(before.voxels, one.image.voxels)
    mask = masks["C"]
    assert changed.any() and not (changed & ~mask).any() and not (changed & one.brain).any()
    assert (after.voxels[mask] == before.voxels.min()).all()
    untouched = compressed = 0
    for path in sorted(place.iterdir()):
        data = pydicom.dcmread(path)
        assert data.RecognizableVisualFeatures == "NO" and "BurnedInAnnotation" not in data
        codes = {item.CodeValue for item in data.DeidentificationMethodCodeSequence}
        assert "113102" in codes and "113101" not in codes
        packed = data.file_meta.TransferSyntaxUID.is_compressed
        compressed += packed
        untouched += not packed
    assert compressed and untouched  # slices above the face keep their RLE


def test_series_that_are_no_heads_are_not_marked(folder, report):
    names = {row["series"] for row in report["faces"] if row["done"] == "not a head"}
    for name in names:
        for path in next((folder / "out").rglob(name)).iterdir():
            data = pydicom.dcmread(path)
            assert "RecognizableVisualFeatures" not in data
            assert "113102" not in {item.CodeValue for item in data.DeidentificationMethodCodeSequence}
    original = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ct = next(d for p in (folder / "out").rglob("*.dcm") if (d := pydicom.dcmread(p)).Modality == "CT")
    assert ct.PixelData == original.PixelData
