"""Data sets as nnU-Net's documentation/dataset_format.md wants them, checked as its verify_dataset_integrity checks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image as pillow

from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Split
from medvfm.io.dataset import nnunet_export
from medvfm.io.dataset.cases import read_cases
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.read import read_image
from medvfm.io.writers.nifti import write_nifti
from tests.samples.command import command
from tests.samples.nifti import oblique

STRUCTURES = ("core", "edema")


def card_of(ending: str = "nii.gz", roles=("t1", "flair"), **more) -> DataCard:
    layout = {
        "files": f"{roles[0]}/{{case_id}}.{ending}",
        "extract": [{"value": "{case_id}", "pattern": "^(?P<patient>[^ ]+)"}],
        "patient_id": "{patient}",
        "images": {role: f"{role}/{{case_id}}.{ending}" for role in roles},
        "masks": {"mask": f"labels/{{case_id}}.{ending}"},
    }
    labels = {2: {"name": "edema"}, 7: {"name": "core"}}
    return DataCard.model_validate(
        {"name": "glioma", "title": "A trial", "labels": labels, "layouts": [layout], **more}
    )


def volumes(root: Path, patients: int = 10, visits: int = 2) -> Path:
    """Two channels each, a label map of 0, 2 and 7, another oblique grid for every patient."""
    for role in ("t1", "flair", "labels"):
        (root / role).mkdir(parents=True)
    for patient in range(patients):
        r = np.random.default_rng(patient)
        affine = oblique(patient).astype(np.float32).astype(np.float64)
        for visit in range(visits):
            name = f"P{patient:02d} visit {visit}.nii.gz"
            for role in ("t1", "flair"):
                write_nifti(Image(r.normal(size=(7, 6, 5)).astype(np.float32), affine), root / role / name)
            mask = r.choice(np.array([0, 0, 2, 7], np.uint8), (7, 6, 5))
            write_nifti(Image(mask, affine, "label"), root / "labels" / name)
    return root


def exported(
    card: DataCard, root: Path, out: Path, classes=STRUCTURES, kind="semantic", **more
) -> nnunet_export.Exported:
    reader = MaskTruthReader.of(card, classes, kind)
    settings = {"number": 42, "split": Split(), "folds": 3} | more
    return nnunet_export.export(card, read_cases(card, root), reader, out, **settings)


def verified(folder: Path) -> dict:
    """What nnU-Net asserts before it plans: the facts of dataset.json hold for every file."""
    described = json.loads((folder / "dataset.json").read_text())
    assert {"channel_names", "labels", "numTraining", "file_ending"} <= set(described)
    values = sorted(described["labels"].values())
    assert values == list(range(len(values))) and described["labels"]["background"] == 0
    ending, channels = described["file_ending"], sorted(described["channel_names"], key=int)
    assert channels == [str(n) for n in range(len(channels))]
    pattern = re.compile(r"(.+)_(\d{4})" + re.escape(ending))
    for part in ("Tr", "Ts"):
        if not (folder / f"images{part}").exists():
            continue
        files = sorted(p.name for p in (folder / f"images{part}").iterdir())
        names = sorted({pattern.fullmatch(f)[1] for f in files})
        assert names == sorted(p.name.removesuffix(ending) for p in (folder / f"labels{part}").iterdir())
        if part == "Tr":
            assert len(names) == described["numTraining"]
        for name in names:
            seg = sitk.ReadImage(str(folder / f"labels{part}" / f"{name}{ending}"))
            assert set(np.unique(sitk.GetArrayFromImage(seg))) <= set(values)
            own = [folder / f"images{part}" / f for f in files if pattern.fullmatch(f)[1] == name]
            images = [sitk.ReadImage(str(f)) for f in own]
            colours = sum(image.GetNumberOfComponentsPerPixel() for image in images)
            assert colours == len(channels)
            for image in images:
                assert image.GetSize() == seg.GetSize()
                for get in ("GetSpacing", "GetOrigin", "GetDirection"):
                    np.testing.assert_allclose(getattr(image, get)(), getattr(seg, get)(), rtol=1e-6)
    return described


def test_channels_labels_and_splits_of_volumes(tmp_path):
    root = volumes(tmp_path / "data")
    found = exported(card_of(), root, tmp_path / "raw")
    assert found.folder == tmp_path / "raw" / "Dataset042_glioma"
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["Dataset042_glioma"]
    described = verified(found.folder)
    assert described["channel_names"] == {"0": "t1", "1": "flair"}
    assert described["labels"] == {"background": 0, "core": 1, "edema": 2}
    record = json.loads((found.folder / "medvfm.json").read_text())
    assert record["values"] == [{"name": "core", "value": 1, "in_card": 7}, {"name": "edema", "value": 2, "in_card": 2}]
    for n, role in enumerate(("t1", "flair")):  # blanks are no part of a name
        written = read_image(next(found.folder.rglob(f"P00_visit_1_{n:04d}.nii.gz")))
        source = read_image(root / role / "P00 visit 1.nii.gz")
        np.testing.assert_array_equal(written.voxels, source.voxels)
        np.testing.assert_array_equal(written.affine, source.affine)
    truth = read_image(root / "labels" / "P00 visit 1.nii.gz", label=True).voxels
    label = read_image(next(found.folder.rglob("P00_visit_1.nii.gz")), label=True).voxels
    np.testing.assert_array_equal(label, np.array([0, 0, 2, 0, 0, 0, 0, 1])[truth])


def owners(names) -> set[str]:
    return {name.split("_")[0] for name in names}


def tables_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    folds = json.loads((folder / "splits_final.json").read_text())
    return pd.read_csv(folder / "training.csv"), pd.read_csv(folder / "test.csv"), folds


def test_no_patient_is_on_two_sides(tmp_path):
    found = exported(card_of(), volumes(tmp_path / "data"), tmp_path / "raw")
    training, test, folds = tables_of(found.folder)
    assert not set(training.patient_id) & set(test.patient_id)
    assert len(training) + len(test) == 20 and len(test) in (4, 6)
    assert len(folds) == 3
    for fold in folds:
        assert set(fold) == {"train", "val"}
        assert sorted(fold["train"] + fold["val"]) == sorted(training.case_id)
        assert not owners(fold["train"]) & owners(fold["val"])
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(training.case_id)
    for table in (training, test):
        assert all((found.folder / mask).is_file() for mask in table["mask"])
        assert (table.source_case_id.str.replace(" ", "_") == table.case_id).all()


def test_the_split_is_that_of_a_run(tmp_path):
    root, card = volumes(tmp_path / "data"), card_of()
    found = exported(card, root, tmp_path / "raw", folds=None, seed=3)
    training, test, (only,) = tables_of(found.folder)
    cases = read_cases(card, root).cases
    assigned = nnunet_export.splits.split_cases(cases, Split(), 3, ())[0].assigned
    parts = ("train", "val", "test")
    wanted = [sorted(c.replace(" ", "_") for c, s in assigned.items() if s == part) for part in parts]
    assert [sorted(only["train"]), sorted(only["val"]), sorted(test.case_id)] == wanted
    assert sorted(training.case_id) == sorted(wanted[0] + wanted[1])
    crossed = exported(card, root, tmp_path / "more", split=Split(folds=4))
    folds = json.loads((crossed.folder / "splits_final.json").read_text())
    ours = nnunet_export.splits.split_cases(cases, Split(folds=4), 0, ())
    assert [sorted(f["val"]) for f in folds] == [
        sorted(c.replace(" ", "_") for c, s in fold.assigned.items() if s == "test") for fold in ours
    ]
    assert not (crossed.folder / "imagesTs").exists() and not (crossed.folder / "test.csv").exists()
    verified(crossed.folder)


def test_pictures_become_png(tmp_path):
    r = np.random.default_rng(0)
    for name in ("image", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for n in range(8):
        shape = (10 + n, 12)
        pillow.fromarray(r.integers(0, 255, (*shape, 3), np.uint8)).save(tmp_path / f"data/image/P{n}.png")
        pillow.fromarray(r.choice(np.array([0, 2, 7], np.uint8), shape)).save(tmp_path / f"data/labels/P{n}.png")
    found = exported(card_of("png", ("image",)), tmp_path / "data", tmp_path / "raw")
    described = verified(found.folder)
    assert described["file_ending"] == ".png" and list(described["channel_names"].values()) == ["R", "G", "B"]
    np.testing.assert_array_equal(
        np.asarray(pillow.open(found.folder / "imagesTr" / f"{found.training[0].case_id}_0000.png")),
        np.asarray(pillow.open(tmp_path / "data" / "image" / f"{found.training[0].case_id}.png")),
    )


def test_a_ct_is_called_so(tmp_path):
    """nnU-Net normalises a channel of that name by the intensities of the whole data set."""
    card = card_of(reading={"unit": "HU"}, roles=("t1",))
    described = verified(exported(card, volumes(tmp_path / "data"), tmp_path / "raw").folder)
    assert described["channel_names"] == {"0": "CT"}


def test_cases_that_nnunet_cannot_take_are_named(tmp_path):
    root = volumes(tmp_path / "data")
    sheared = oblique()
    sheared[:3, 2] += 0.4 * sheared[:3, 1]
    bad = {"P01 visit 0": oblique(5), "P02 visit 0": sheared}
    for name, affine in bad.items():
        flair = Image(np.zeros((7, 6, 5), np.float32), affine)
        write_nifti(flair, root / "flair" / f"{name}.nii.gz")
    strange = Image(np.full((7, 6, 5), 9, np.uint8), read_image(root / "t1" / "P03 visit 1.nii.gz").affine, "label")
    write_nifti(strange, root / "labels" / "P03 visit 1.nii.gz")
    found = exported(card_of(), root, tmp_path / "raw")
    reasons = dict(found.left_out)
    assert set(reasons) == {*bad, "P03 visit 1"}
    assert "mm from the first channel" in reasons["P01 visit 0"]
    assert "sheared" in reasons["P02 visit 0"]
    verified(found.folder)
    training, test, folds = tables_of(found.folder)
    assert len(training) + len(test) == 17
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(training.case_id)
    assert len(json.loads((found.folder / "medvfm.json").read_text())["left_out"]) == 3
    with pytest.raises(UnreadableImage, match=r"mm from the first channel|sheared|holds the value"):
        exported(card_of(), root, tmp_path / "strict", strict=True)
    assert list((tmp_path / "strict").iterdir()) == []


def test_questions_that_nnunet_cannot_answer(tmp_path):
    root, card = volumes(tmp_path / "data", patients=4), card_of()
    with pytest.raises(DataError, match="one structure, and the question is of multi label"):
        exported(card, root, tmp_path / "raw", kind="multi_label")
    with pytest.raises(DataError, match="one structure, and the question is of instances"):
        exported(card, root, tmp_path / "raw", kind="instances")
    with pytest.raises(DataError, match="data set number 1000; from 1 to 999"):
        exported(card, root, tmp_path / "raw", number=1000)
    with pytest.raises(DataError, match="10 folds of 3 patients"):
        exported(card, root, tmp_path / "raw", folds=10)
    assert not list(tmp_path.glob("raw/*"))
    exported(card, root, tmp_path / "raw", folds=None)
    with pytest.raises(DataError, match="there is something already"):
        exported(card, root, tmp_path / "raw", folds=None)


def test_names_that_come_out_alike_are_told_apart():
    cases = [nnunet_export.Case(name, None, {}) for name in ("a b", "a/b", "A_b", "ä")]
    assert list(nnunet_export._identifiers(cases).values()) == ["a_b", "a_b-2", "A_b-3", "case"]


def test_the_command(tmp_path):
    card = card_of()
    root = volumes(tmp_path / "data", patients=6)
    (tmp_path / "card.yaml").write_text(card.model_dump_json(by_alias=True, exclude_defaults=True))
    words = ("data", "export", tmp_path / "card.yaml", "--root", root, "--out", tmp_path / "raw", "--folds", 0)
    done = command(*words, "--number", 7)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Dataset007_glioma: \d+ training and \d+ test cases$", done.stdout.strip())
    assert verified(tmp_path / "raw" / "Dataset007_glioma")["labels"] == {"background": 0, "edema": 1, "core": 2}
    done = command(*words, "--format", "nnunett")
    assert done.returncode == 2 and "did you mean 'nnunet'" in done.stderr


def test_nnunets_own_check(tmp_path):
    """Where it is installed."""
    pytest.importorskip("nnunetv2")
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    found = exported(card_of(), volumes(tmp_path / "data"), tmp_path / "raw")
    verify_dataset_integrity(str(found.folder), 1)


def test_a_copy_of_a_test_case_is_not_written_among_the_training_cases(tmp_path):
    card, root = card_of(), volumes(tmp_path / "data", patients=6, visits=1)
    cases = read_cases(card, root).cases
    assigned = nnunet_export.splits.split_cases(cases, Split(), 0, ())[0].assigned
    files = {
        split: next(c.images["t1"][0] for c in cases if assigned[c.case_id] == split) for split in assigned.values()
    }
    grid = read_image(files["test"]).affine  # another header: the files have other bytes
    write_nifti(Image(read_image(files["train"]).voxels, grid), files["test"])
    with pytest.raises(DataError, match="1 image identical in two splits"):
        exported(card, root, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
