"""Axial slices as cases: pixels, place and truth are those of the whole scan, labels those of the very slice."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine

import medvfm
from medvfm.core.data_card import load_card
from medvfm.core.errors import DataError, RecipeError
from medvfm.core.recipe import load
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.read import read_label
from medvfm.io.virtual_brain import anatomy, axial_slices, make, scanner
from medvfm.io.virtual_brain import patients as virtual_cohort
from medvfm.io.virtual_brain.options import LESIONS_MM, SPAN
from medvfm.pipeline import planning

CARD = load_card(Path(__file__).parents[3] / "data_cards" / "virtual_brain.yaml")
PATIENTS, SLICES = 4, 4  # of seed 0: all three scanners, with and without lesions
ASKED = {"patients": PATIENTS, "slices": SLICES}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slices")
    return {
        kind: make.make(folder / kind, patients=PATIENTS, slices=SLICES, format=kind, workers=1).parent  # type: ignore[arg-type]
        for kind in make.virtual_options.FORMATS
    }


@pytest.fixture(scope="module")
def scans() -> dict[str, scanner.Scan]:
    drawn = [virtual_cohort.draw(0, n) for n in range(1, PATIENTS + 1)]
    return {patient.name: scanner.scan(patient) for patient in drawn}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_voxels_lie_where_the_whole_scan_has_them(cohorts, scans, kind):
    """Each pixel is looked up in the whole scan by its place in the patient alone."""
    for row in rows_of(cohorts[kind]):
        scan = scans[row["patient_id"]]
        image = medvfm.read_image(cohorts[kind] / row["image"])
        labels = medvfm.read_image(cohorts[kind] / row["labels"], label=True)
        assert image.shape_vox[2] == 1
        assert not image.is_volume
        assert image.orientation == labels.orientation == "LPS"
        grid = np.moveaxis(np.indices(image.shape_vox), 0, -1)
        at = apply_affine(np.linalg.inv(scan.affine), apply_affine(image.affine, grid))
        assert np.abs(at - np.rint(at)).max() < 1e-3
        there = tuple(np.moveaxis(np.rint(at).astype(int), -1, 0))
        np.testing.assert_array_equal(image.voxels, scan.stored[there])
        np.testing.assert_array_equal(labels.voxels, np.where(scan.lesions > 0, 4, scan.tissues)[there])
        np.testing.assert_allclose(labels.affine, image.affine, atol=1e-4)


def test_labels_are_of_the_very_slice(cohorts, scans):
    rows = rows_of(cohorts["nifti"])
    assert len({row["case_id"] for row in rows}) == len(rows) == PATIENTS * SLICES
    assert [row["case_id"] for row in rows[:2]] == ["VB0001-slice01", "VB0001-slice02"]
    for row in rows:
        labels = medvfm.read_image(cohorts["nifti"] / row["labels"], label=True)
        spacing = labels.spacing_mm
        assert spacing is not None
        area = (labels.voxels == make.LESION).sum() * spacing[0] * spacing[1]
        assert float(row["lesion_mm2"]) == pytest.approx(area, abs=0.06)
        assert row["lesion"] == str(int(area >= axial_slices.VISIBLE_MM2))
        csf = (labels.voxels == 1).sum() * spacing[0] * spacing[1]
        assert float(row["ventricles_mm2"]) <= csf + area
        said = ("a" if row["lesion"] == "1" else "no", "large" if row["ventricles"] == "1" else "small")
        assert row["text"] == f"{said[0]} lesion, {said[1]} ventricles"
    by_patient = {name: {r["lesion"] for r in rows if r["patient_id"] == name} for name in scans}
    assert any(seen == {"0", "1"} for seen in by_patient.values()), "no patient with a slice beside the lesion"
    assert all(by_patient[name] == {"0"} for name, scan in scans.items() if not scan.lesions.any())


def test_the_area_of_ventricles_in_all_slices_is_their_volume(scans):
    for scan in scans.values():
        count = scan.stored.shape[np.argmax(np.abs(scan.affine[2, :3]))]
        slices = list(axial_slices.cut(scan, [(k + 0.5) / count for k in range(count)]))
        assert [one.index for one in slices] == list(range(count))
        between = math.dist(slices[0].affine[:3, 3], slices[1].affine[:3, 3])
        assert sum(one.ventricles_mm2 for one in slices) * between / 1000 == pytest.approx(scan.ventricles_ml, rel=1e-6)


def test_every_slice_that_can_be_asked_for_has_its_median():
    for name, made in scanner.SCANNERS.items():
        count = made.shape_vox[1 if name == "B" else 2]  # sagittal rows run from head to foot
        for share in np.linspace(*SPAN, 200):
            assert axial_slices.median_mm2(name, int(share * count)) > 0
        first, areas = axial_slices._MEDIAN_MM2[name]
        assert (first, first + len(areas) - 1) == (int(SPAN[0] * count), int(SPAN[1] * count))


@pytest.mark.acceptance
def test_ventricles_are_large_in_half_of_the_slices_of_every_scanner_and_level():
    """Patients that the constants do not come from, each on all scanners: four whole blocks, whose ages are even.
    Shares lie within 2.8 deviations of a half (48 patients)."""
    wanted = axial_slices.heights(SLICES, SPAN)
    large: dict[tuple[str, int], list[bool]] = {}
    for patient in (virtual_cohort.draw(7, n) for n in range(1, 49)):
        for name in scanner.SCANNERS:
            for one in axial_slices.cut(scanner.scan(replace(patient, scanner=name)), wanted):
                above = one.ventricles_mm2 > axial_slices.median_mm2(name, one.index)
                large.setdefault((name, one.level), []).append(above)
    assert len(large) == 3 * SLICES
    for where, found in large.items():
        assert 0.3 < np.mean(found) < 0.7, where


def test_the_seed_alone_decides(cohorts, tmp_path):
    again = make.make(tmp_path / "again", patients=2, slices=SLICES, format="nifti", workers=1).parent
    first, second = bytes_of(cohorts["nifti"]), bytes_of(again)
    files = set(second) - {"cases.csv", "README.txt"}
    assert rows_of(again) == rows_of(cohorts["nifti"])[: 2 * SLICES]
    assert files == {name for name in first if "VB0001" in name or "VB0002" in name}
    assert all(first[name] == second[name] for name in files)


def test_the_card_reads_slices_as_cases(cohorts):
    found = tables.read_cases(CARD, cohorts["dicom"])
    rows = {row["case_id"]: row for row in rows_of(cohorts["dicom"])}
    assert (found.layout, len(found.cases), found.left_out) == ("slices", PATIENTS * SLICES, [])
    for case in found.cases:
        row = rows[case.case_id]
        assert case.patient_id == row["patient_id"]
        assert case.text == row["text"]
        assert case.targets == {"lesion": float(row["lesion"]), "ventricles": float(row["ventricles"])}
        assert case.groups == {n: row[n] for n in ("sex", "age_band", "scanner", "level")} | {"age": float(row["age"])}
        assert read_label(case.masks["mask"][0], medvfm.read_image(case.files[0]), values=range(5))


def test_whole_volumes_are_another_layout(tmp_path):
    whole = make.make(tmp_path / "whole", patients=1, format="nifti").parent
    assert tables.read_cases(CARD, whole).layout == "generated"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slices": -1}, "0 for whole volumes"),
        ({"slice_span": [0.42, 0.5]}, "slice_span out"),
        ({"slices": 4, "slice_span": [0.42, 0.62]}, r"within \[0.4, 0.56\]"),
        ({"slices": 4, "slice_span": [0.5, 0.45]}, r"\[low, high\]"),
        ({"slices": 5}, "at most 4"),
        ({"slices": 0, "patients": 0}, "at least 1 patient"),
    ],
)
def test_refuses_slices_that_cannot_be_cut(given, said):
    with pytest.raises(DataError, match=said) as refused:
        roots.options_of(CARD, given, "recipe.yaml, line 3, data.options")
    assert refused.value.where == "recipe.yaml, line 3, data.options"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slice": 4}, "did you mean 'slices'"),
        ({"slices": "four"}, "is a int, not 'four'"),
        ({"slices": 4, "slice_span": 0.5}, "list of 2 numbers, not 0.5"),
        ({"slices": 4, "slice_span": [0.42, 0.5, 0.55]}, "list of 2 numbers"),
        ({"slices": 4, "slice_span": [True, False]}, "list of 2 numbers"),
    ],
)
def test_refuses_options_of_another_kind(given, said):
    with pytest.raises(RecipeError, match=said):
        roots.options_of(CARD, given, "data.options")


def test_a_recipe_with_wrong_slices_is_refused_before_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVFM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text(
        "title: slices\nseed: 0\n"
        "data: {card: virtual_brain, options: {patients: 4, slices: 4, slice_span: [0.42, 0.62]}}\n"
        "split: {from: random, fractions: [0.5, 0.2, 0.3]}\n"
        "task: {name: classification, classes: [ventricles]}\n"
        "adapter: {name: dinov2, weights: embedded, method: knn}\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError, match=r"recipe.yaml.*line 3.*data.options.*within \[0.4, 0.56\]"):
        planning.plan(load(tmp_path / "recipe.yaml"))


def test_options_take_lists_as_yaml_gives_them():
    found = roots.options_of(CARD, {**ASKED, "slice_span": [0.42, 0.56]}, "data.options")
    assert found["slice_span"] == (0.42, 0.56)
    assert found["seed"] == 0


def test_larger_lesions_on_one_scanner_are_options_that_change_nothing_else(tmp_path):
    """The same people: ages, ventricles and sides stay, and a lesion that is asked for is as long as it says."""
    usual = [virtual_cohort.draw(0, n) for n in range(1, 61)]
    larger = [virtual_cohort.draw(0, n, lesion_mm=(28.0, 36.0), scanner="A") for n in range(1, 61)]
    for one, other in zip(usual, larger, strict=True):
        assert replace(one, lesions=(), scanner="A") == replace(other, lesions=())
        assert [lesion.side for lesion in one.lesions] == [lesion.side for lesion in other.lesions]
    largest = [p.lesions[0].diameter_mm for p in larger if p.lesions]
    assert 28 <= min(largest) < 30 < 34 < max(largest) <= 36
    kept = {"patients": 2, "slices": 1, "format": "nifti", "workers": 1}
    table = make.make(tmp_path / "large", lesion_mm=(28.0, 36.0), scanner="B", **kept)
    assert {row["scanner"] for row in rows_of(table.parent)} == {"B"}


def test_large_lesions_keep_apart_and_lie_in_white_matter():
    patients = [virtual_cohort.draw(0, n, lesion_mm=(28.0, LESIONS_MM[1])) for n in range(1, 241)]
    several = [p for p in patients if len(p.lesions) > 1]
    for patient in several:
        found = anatomy.places(patient)
        assert len(found) == len(patient.lesions)
        for one, other in itertools.combinations(range(len(found)), 2):
            apart = np.linalg.norm(found[one] - found[other])
            sizes = patient.lesions[one].diameter_mm + patient.lesions[other].diameter_mm
            assert apart > sizes / 2 + anatomy.GAP_MM
        for place, lesion in zip(found, patient.lesions, strict=True):
            assert (place[0] < 0) == (lesion.side == "left")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lesion_mm": (36.0, 28.0)}, "lesion_mm"),
        ({"lesion_mm": (13.0, 50.0)}, "36"),
        ({"scanner": "D"}, "no scanner 'D'"),
    ],
)
def test_refuses_lesions_without_a_place_and_unknown_scanners(options, said):
    with pytest.raises(DataError, match=said):
        roots.options_of(CARD, options, "recipe.yaml")
