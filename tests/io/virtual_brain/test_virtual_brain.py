"""virtual_brain: exact truth on the grid of the images, valid headers, the same bytes for the same seed."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medvfm.core.errors import DataError
from medvfm.io.virtual_brain import anatomy, make, scanner
from medvfm.io.virtual_brain import captions as virtual_words
from medvfm.io.virtual_brain import patients as virtual_cohort

PATIENTS = 4  # of seed 0: all three scanners, with and without lesions


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return make.make(tmp_path_factory.mktemp("vb") / "dicom", patients=PATIENTS, workers=1).parent


@pytest.fixture(scope="module")
def as_nifti(tmp_path_factory) -> Path:
    return make.make(tmp_path_factory.mktemp("vb") / "nifti", patients=PATIENTS, workers=1, format="nifti").parent


def rows_of(folder: Path, table: str = "cases.csv") -> list[dict[str, str]]:
    with (folder / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def series_of(folder: Path) -> tuple[np.ndarray, np.ndarray, list[pydicom.Dataset]]:
    """Voxels (i, j, k), affine to RAS+ mm, headers: by pydicom alone, slices sorted by position, PS3.3, C.7.6.2.1.1."""
    images = [pydicom.dcmread(p) for p in folder.iterdir()]
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    images.sort(key=lambda d: normal @ np.array(d.ImagePositionPatient, float))
    first, last = (np.array(images[n].ImagePositionPatient, float) for n in (0, -1))
    affine = np.eye(4)
    affine[:3, 0] = row * float(images[0].PixelSpacing[1])
    affine[:3, 1] = column * float(images[0].PixelSpacing[0])
    affine[:3, 2] = (last - first) / (len(images) - 1)
    affine[:3, 3] = first
    return np.stack([d.pixel_array.T for d in images], axis=2), np.diag([-1, -1, 1, 1]) @ affine, images


def test_a_small_cohort_begins_a_large_one_for_any_number_of_workers(cohort, tmp_path):
    smaller = make.make(tmp_path / "smaller", patients=2, workers=2).parent
    large, small = bytes_of(cohort), bytes_of(smaller)
    assert rows_of(smaller) == rows_of(cohort)[:2]
    tables = {"cases.csv", "questions.csv", "README.txt"}
    assert {p for p in large if "VB0001" in p or "VB0002" in p} == set(small) - tables
    assert all(small[p] == large[p] for p in set(small) - tables)


def test_another_seed_is_another_cohort():
    first, second = ([virtual_cohort.draw(seed, n) for n in range(1, 25)] for seed in (0, 1))
    assert [p.age for p in first] != [p.age for p in second]


def test_headers_and_masks_agree_on_where_voxels_lie(cohort):
    for row in rows_of(cohort):
        voxels, affine, _ = series_of(cohort / row["image"])
        for what in ("tissues", "lesions", "labels"):
            mask = nib.load(cohort / row[what])
            assert mask.shape == voxels.shape
            np.testing.assert_allclose(mask.affine, affine, atol=1e-4)


def test_dicom_and_nifti_hold_the_same_voxels(cohort, as_nifti):
    for row, other in zip(rows_of(cohort), rows_of(as_nifti), strict=True):
        voxels, affine, _ = series_of(cohort / row["image"])
        image = nib.load(as_nifti / other["image"])
        np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)
        np.testing.assert_allclose(image.affine, affine, atol=1e-4)
        assert {**row, "image": ""} == {**other, "image": ""}


def test_lesions_are_dark_and_in_white_matter(as_nifti):
    for row in rows_of(as_nifti):
        voxels, tissues, lesions, labels = (
            np.asarray(nib.load(as_nifti / row[what]).dataobj) for what in ("image", "tissues", "lesions", "labels")
        )
        np.testing.assert_array_equal(labels, np.where(lesions == 1, 4, tissues))
        assert set(np.unique(tissues)) == {0, 1, 2, 3}
        pieces, count = ndimage.label(lesions, np.ones((3, 3, 3)))
        assert count == int(row["lesion_count"])
        assert int(row["lesion"]) == (count > 0)
        for n in range(1, count + 1):
            around = ndimage.binary_dilation(pieces == n, iterations=3) & (lesions == 0) & (tissues == 3)
            assert voxels[pieces == n].mean() < 0.7 * np.median(voxels[around])


def test_tissues_are_dark_gray_and_white_on_t1(as_nifti):
    for row in rows_of(as_nifti):
        voxels, labels = (np.asarray(nib.load(as_nifti / row[what]).dataobj) for what in ("image", "labels"))
        csf, grey, white = (float(np.median(voxels[labels == n])) for n in (1, 2, 3))
        assert csf < grey < white


def test_sides_are_those_of_the_patient():
    """RAS+: the left of the middle of the brain is where x is smaller, in every orientation of the slices."""
    one_sided = [
        p for p in (virtual_cohort.draw(0, n) for n in range(1, 60)) if virtual_words.side(p) in ("left", "right")
    ]
    first = {(p.scanner, virtual_words.side(p)): p for p in reversed(one_sided)}
    assert len(first) == 6
    for (_, side), patient in first.items():
        scan = scanner.scan(patient)
        x_mm = [(np.argwhere(mask) @ scan.affine[:3, :3].T)[:, 0] for mask in (scan.lesions, scan.tissues)]
        assert side == ("left" if np.median(x_mm[0]) < np.mean(x_mm[1]) else "right")


def test_every_header_says_simulated_and_names_things_once(cohort):
    instances = []
    for row in rows_of(cohort):
        _, _, images = series_of(cohort / row["image"])
        assert {str(d.PatientName) for d in images} == {f"SIMULATED^{row['patient_id']}"}
        assert len({d.SeriesInstanceUID for d in images}) == len({d.StudyInstanceUID for d in images}) == 1
        assert sorted(int(d.InstanceNumber) for d in images) == list(range(1, len(images) + 1))
        assert images[0].StudyDate == row["study_date"].replace("-", "")
        instances += [d.SOPInstanceUID for d in images]
        assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in images)
    assert len(set(instances)) == len(instances)
    assert all(u.startswith("2.25.") and len(u) <= 64 for u in instances)
    assert "SIMULATED" in (cohort / "README.txt").read_text(encoding="utf-8")


def test_scanners_differ_in_orientation_and_transfer_syntax(cohort):
    seen = {row["scanner"]: pydicom.dcmread(cohort / row["image"] / "IM0001.dcm") for row in rows_of(cohort)}
    assert set(seen) == set(virtual_cohort.SCANNERS)
    assert len({tuple(np.round(np.array(d.ImageOrientationPatient, float), 2)) for d in seen.values()}) == 3
    assert {d.file_meta.TransferSyntaxUID.name for d in seen.values()} >= {"RLE Lossless"}
    assert sum(d.file_meta.TransferSyntaxUID.is_compressed for d in seen.values()) == 2


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_a_validator_finds_no_error(cohort):
    for row in rows_of(cohort):
        for name in ("IM0001.dcm", "IM0020.dcm"):
            said = subprocess.run(
                ["dciodvfy", cohort / row["image"] / name], capture_output=True, text=True, check=False
            )
            assert "Error" not in said.stdout + said.stderr


def test_groups_say_nothing_about_lesions():
    patients = [virtual_cohort.draw(3, n) for n in range(1, 241)]
    ill = [p for p in patients if p.lesions]
    assert len(ill) == 120
    for of in (lambda p: p.sex, lambda p: p.scanner):
        counts = Counter(of(p) for p in patients)
        assert all(2 * n == counts[value] for value, n in Counter(of(p) for p in ill).items())
    assert abs(np.mean([p.age for p in ill]) - np.mean([p.age for p in patients])) < 4


def test_lesions_have_the_sizes_and_numbers_that_are_promised():
    lesions = [p.lesions for p in (virtual_cohort.draw(5, n) for n in range(1, 241)) if p.lesions]
    assert {len(found) for found in lesions} == {1, 2, 3, 4}
    assert all(3 <= lesion.diameter_mm <= 15 for found in lesions for lesion in found)
    assert all(found[0].diameter_mm == max(lesion.diameter_mm for lesion in found) for found in lesions)


def test_ventricles_widen_with_age():
    patients = [virtual_cohort.draw(0, n) for n in range(1, 200)]
    young, old = min(patients, key=lambda p: p.ventricle_mm), max(patients, key=lambda p: p.ventricle_mm)
    assert np.corrcoef([p.age for p in patients], [p.ventricle_mm for p in patients])[0, 1] > 0.5
    assert scanner.scan(old).ventricles_ml > 1.5 * scanner.scan(young).ventricles_ml


def test_an_ellipsoid_has_its_volume_on_any_grid():
    """Its shares of voxels add up to 4/3 pi a b c, whatever the grid."""
    rng = np.random.default_rng(0)
    for spacing in ((1.0, 1.0, 1.0), (1.2, 0.9, 5.0)):
        affine = np.diag([*spacing, 1.0])
        affine[:3, :3] = anatomy.random_rotation(rng) @ affine[:3, :3]
        radii = np.array([7.5, 6.0, 5.0])
        centre = np.array([30.2, 30.7, 15.4])
        box, share = anatomy.ellipsoid((60, 60, 30), affine, centre, radii, anatomy.random_rotation(rng), edge_mm=0.5)
        volume = share.sum() * np.prod(spacing)
        assert volume == pytest.approx(4 / 3 * np.pi * radii.prod(), rel=0.05)
        weights = share / share.sum()
        grid = np.indices(share.shape) + np.array([b.start for b in box])[:, None, None, None]
        np.testing.assert_allclose((grid * weights).sum((1, 2, 3)), centre, atol=0.1)


def test_captions_are_mostly_distinct_and_questions_balanced():
    asked, captions = [], []
    for n in range(1, 201):
        patient = virtual_cohort.draw(0, n)
        ventricles_ml = virtual_words.WIDE_ML + 3 * (patient.ventricle_mm - 1.25)
        plane = scanner.SCANNERS[patient.scanner].plane
        asked += virtual_words.questions(n - 1, patient, plane, ventricles_ml)
        captions.append(virtual_words.caption(patient, plane, ventricles_ml))
    assert len(set(captions)) > 0.8 * len(captions)
    kept = virtual_words.balanced(asked)
    assert len(kept) > 0.9 * len(asked)
    check_balance(kept)


def test_questions_of_a_few_patients_are_balanced_too(cohort):
    asked = rows_of(cohort, "questions.csv")
    check_balance([virtual_words.Question(0, q["question_type"], q["question"], q["answer"]) for q in asked])
    assert {q["image_id"] for q in asked} <= {row["case_id"] for row in rows_of(cohort)}
    assert len({q["case_id"] for q in asked}) == len(asked) > 0


def check_balance(asked: list[virtual_words.Question]) -> None:
    answers = defaultdict(list)
    for question in asked:
        answers[question.question].append(question.answer)
    for given in answers.values():
        assert Counter(given).most_common(1)[0][1] <= 0.6 * len(given)


def test_a_folder_is_complete_or_absent(tmp_path, monkeypatch):
    def fails(*_):
        raise DataError("disk full")

    monkeypatch.setattr(make, "_examine", fails)
    with pytest.raises(DataError, match="disk full"):
        make.make(tmp_path / "cohort", patients=1)
    assert list(tmp_path.iterdir()) == []


def test_refuses_what_it_cannot_make(tmp_path):
    (tmp_path / "file.txt").touch()
    with pytest.raises(DataError, match="something already"):
        make.make(tmp_path)
    with pytest.raises(DataError, match="dicom"):
        make.make(tmp_path / "new", format="dicm")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 1 patient"):
        make.make(tmp_path / "new", patients=0)
