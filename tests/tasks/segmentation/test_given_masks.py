"""What values of masks mean, in files that are written and in files that users hand in; Dice by counting."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

import medvfm
from medvfm.core.case import Case
from medvfm.core.data_card import Label
from medvfm.core.errors import MedvfmError
from medvfm.io.dicom.seg import read_segmentation
from medvfm.io.writers.dicom_seg import write_segmentation
from medvfm.tasks.segmentation import mask_files
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples.dicom import write_series

AFFINE = np.diag([-1.0, -1, 2, 1])
BRATS = {1: "necrosis", 2: "oedema", 4: "enhancing"}
SHAPE = (14, 12, 6)


def blocks(shift=0):
    """Three blocks of 4 x 4 x 2 voxels with the values 1, 2, 3; `shift` moves the second along i."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[0:4, 0:4, 1:3], mask[1 + shift : 5 + shift, 6:10, 1:3], mask[8:12, 1:5, 3:5] = 1, 2, 3
    return mask


TRUE, DRAWN, MOVED = blocks(), blocks(1), 2 * 24 / 64  # Dice of the second block


def save(folder, name, mask):
    folder.mkdir(exist_ok=True)
    if name.endswith(".png"):
        Picture.fromarray(mask[:, :, 2].T).save(folder / name)
    else:
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), folder / name)
    return folder


def as_values(mask, *values):
    return np.array([0, *values], np.uint8)[mask]


def dice(truth, predictions, **options):
    rows = medvfm.evaluate("segmentation", truth=truth, predictions=predictions, metrics=["dice"], **options)
    test = rows[(rows.split == "test") & rows.group.isna()]
    return test.set_index("target")["value"].drop("mean", errors="ignore").to_dict()


def refused(truth, predictions, **options):
    with pytest.raises(MedvfmError) as error:
        dice(truth, predictions, **options)
    return str(error.value)


@pytest.fixture
def folders(tmp_path):
    """Truth with BraTS's values 1, 2, 4; predictions with them, and with 1, 2, 3."""
    for n in range(2):
        save(tmp_path / "true", f"c{n}.nii.gz", as_values(TRUE, 1, 2, 4))
        save(tmp_path / "drawn", f"c{n}.nii.gz", as_values(DRAWN, 1, 2, 4))
        save(tmp_path / "numbered", f"c{n}.nii.gz", DRAWN)
    return tmp_path


WANT = {"necrosis": 1.0, "oedema": MOVED, "enhancing": 1.0}


def card(folder, **values):
    lines = "".join(f"  {value}: {{name: {name}}}\n" for value, name in BRATS.items())
    file = folder / "brats.yaml"
    file.write_text(f"name: brats\ntitle: B\nlabels:\n{lines}layouts: [{{table: t.csv}}]\n")
    return file


def test_names_come_from_words_a_table_or_a_card(folders):
    (folders / "names.csv").write_text("value;name\n0;background\n1;necrosis\n2;oedema\n4;enhancing\n")
    for labels in (BRATS, "1=necrosis,2=oedema,4=enhancing", str(folders / "names.csv"), str(card(folders))):
        assert dice(folders / "true", folders / "drawn", labels=labels) == pytest.approx(WANT)
    numbered = {"labels": BRATS, "predicted_labels": "1=necrosis,2=oedema,3=enhancing"}
    assert dice(folders / "true", folders / "numbered", **numbered) == pytest.approx(WANT)
    assert dice(folders / "true", folders / "drawn", labels=BRATS, classes=["oedema"]) == {"oedema": MOVED}
    whole = dice(folders / "true", folders / "drawn", labels="1=tumour,2=tumour,4=tumour")
    assert whole == {"tumour": pytest.approx(2 * 88 / 192)}
    without = dice(folders / "true", folders / "drawn", labels="2=oedema", background=[1, 4])
    assert without == {"oedema": MOVED}
    assert dice(folders / "true", folders / "drawn") == pytest.approx(
        {"label 1": 1.0, "label 2": MOVED, "label 4": 1.0}
    )


def test_a_value_that_nobody_named_is_refused_with_its_file(folders):
    true, drawn, numbered = (folders / name for name in ("true", "drawn", "numbered"))
    said = refused(true, drawn, classes=["necrosis", "oedema", "enhancing"])
    assert "c0.nii.gz" in said and "values 4" in said and "--labels" in said and "--background" in said
    said = refused(true, numbered)
    assert "c0.nii.gz holds 3, and no true mask does: c0.nii.gz holds 1, 2, 4" in said
    assert "--labels 1=NAME1,2=NAME2,4=NAME4 --predicted-labels 1=NAME1,2=NAME2,3=NAME3" in said
    assert "--predicted-labels" in refused(true, numbered, labels=BRATS)
    assert "values 1, 4" in refused(true, drawn, labels="2=oedema")
    for labels, said in (
        ("1=", "no name"),
        ("one=necrosis", "whole number"),
        ("1=a,1=b", "or two"),
        ("0=none", "no value"),
    ):
        assert said in refused(true, drawn, labels=labels)
    assert "oedma" in refused(true, drawn, labels=BRATS, classes=["oedma"])
    (folders / "names.csv").write_text("value,structure\n1,necrosis\n")
    assert "no column 'name'" in refused(true, drawn, labels=str(folders / "names.csv"))
    grey = as_values(TRUE, 1, 2, 4)
    grey[:, :, 0] = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE[:2])
    assert "pictures and probabilities" in refused(save(folders / "grey", "c0.nii.gz", grey), true, allow_missing=True)


def test_a_misspelt_name_of_the_predictions_is_refused_and_further_structures_are_not(folders):
    true, numbered = folders / "true", folders / "numbered"
    misspelt = "1=necrosis,2=oedema,3=enhancng"
    for options in ({"labels": BRATS}, {"labels": BRATS, "classes": ["enhancing"]}):
        said = refused(true, numbered, predicted_labels=misspelt, **options)
        assert said.startswith("--predicted-labels: no structure 'enhancng'; did you mean 'enhancing'?")
    said = refused(numbered, numbered, predicted_labels=misspelt, classes=list(BRATS.values()))
    assert "no structure 'enhancng'" in said
    more = "1=necrosis,2=oedema,3=enhancing,9=vessel"
    assert dice(true, numbered, labels=BRATS, predicted_labels=more) == pytest.approx(WANT)
    only = {"labels": BRATS, "classes": ["oedema"], "predicted_labels": misspelt}
    assert dice(true, numbered, **only) == {"oedema": MOVED}


@pytest.mark.parametrize("name", ["c0.nii.gz", "c0.png"])
@pytest.mark.parametrize(("true", "drawn"), [(1, 255), (255, 1), (255, 255)])
def test_binary_masks_are_one_structure_whatever_its_number(tmp_path, name, true, drawn):
    a, b = (np.where(mask == 2, value, 0).astype(np.uint8) for mask, value in ((TRUE, true), (DRAWN, drawn)))
    truth, predictions = save(tmp_path / "t", name, a), save(tmp_path / "p", name, b)
    assert list(dice(truth, predictions).values()) == [MOVED]
    assert dice(truth, predictions, classes=["oedema"]) == {"oedema": MOVED}
    medvfm.evaluate("segmentation", truth=truth, predictions=predictions, metrics=["dice"], out=tmp_path / "out")
    said = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert any("taken as one structure" in note for note in said)
    empty = save(tmp_path / "e", name, a * 0)
    assert list(dice(truth, empty).values()) == [0.0]
    save(tmp_path / "p", name, np.where(b > 0, 2, 0).astype(np.uint8))
    assert "--labels" in refused(truth, predictions)  # 2 is a structure of its own


@pytest.mark.parametrize(
    ("value", "kind", "typed"),
    [
        (255, np.uint8, "--predicted-labels 1=lesion,255=lesion"),
        (-1, np.int8, "--predicted-labels=-1=lesion,1=lesion"),
        (65535, np.uint16, "--predicted-labels 1=lesion,65535=lesion"),
    ],
)
def test_a_folder_of_several_conventions_is_refused_with_files_and_the_line_to_type(tmp_path, value, kind, typed):
    for name, of_truth, of_predictions in (("c1.nii.gz", 1, 1), ("c2.nii.gz", 1, value)):
        save(tmp_path / "t", name, np.where(TRUE == 2, of_truth, 0).astype(np.uint8))
        save(tmp_path / "p", name, np.where(DRAWN == 2, of_predictions, 0).astype(kind))
    said = refused(tmp_path / "t", tmp_path / "p")
    assert f"c2.nii.gz holds {value}, and no true mask does: c1.nii.gz holds 1" in said
    assert f"if all mean the same: --labels 1=lesion {typed}" in said
    both = {"labels": "1=lesion", "predicted_labels": f"1=lesion,{value}=lesion"}
    assert dice(tmp_path / "t", tmp_path / "p", **both) == {"lesion": pytest.approx(MOVED)}


def test_true_masks_of_1_and_others_of_255_are_refused_and_both_in_one_are_two_structures(tmp_path):
    for name, value in (("c1.nii.gz", 1), ("c2.nii.gz", 255)):
        save(tmp_path / "t", name, np.where(TRUE == 2, value, 0).astype(np.uint8))
        save(tmp_path / "p", name, np.where(DRAWN == 2, 1, 0).astype(np.uint8))
    said = refused(tmp_path / "t", tmp_path / "p")
    assert "c1.nii.gz holds 1, c2.nii.gz holds 255" in said
    assert "--labels 1=lesion,255=lesion --predicted-labels 1=lesion;" in said
    both = save(tmp_path / "both", "c1.nii.gz", as_values(TRUE, 1, 255, 0))
    assert list(dice(both, both)) == ["label 1", "label 255"]


@pytest.mark.parametrize("name", ["c0.nii.gz", "c0.png"])
@pytest.mark.parametrize(
    ("drawn", "typed"),
    [((1, 2), ""), ((0, 1), " --predicted-labels 1=NAME"), ((0, 255), " --predicted-labels 255=NAME"), ((0, 2), "")],
)
def test_a_background_of_1_is_refused_with_what_to_type_and_is_none_as_typed(tmp_path, name, drawn, typed):
    truth = save(tmp_path / "t", name, np.where(TRUE == 2, 2, 1).astype(np.uint8))
    predictions = save(tmp_path / "p", name, np.where(DRAWN == 2, drawn[1], drawn[0]).astype(np.uint8))
    said = refused(truth, predictions)
    assert said.startswith(f"{truth / name}: no true mask holds 0, and 1 fills the borders of all")
    assert f"if so: --labels 2=NAME --background 1{typed}; if it is a structure: --labels 1=NAME1,2=NAME2" in said
    options = {"predicted_labels": typed.split()[-1]} if typed else {}
    want = {"NAME": pytest.approx(MOVED)}
    assert dice(truth, predictions, labels="2=NAME", background=[1], **options) == want


def test_several_structures_on_a_background_of_1_and_values_that_meet_at_the_border(tmp_path):
    truth = save(tmp_path / "t", "c0.nii.gz", TRUE + np.uint8(1))
    assert "--labels 2=NAME2,3=NAME3,4=NAME4 --background 1;" in refused(truth, truth)
    half = np.ones(SHAPE, np.uint8)
    half[:8] = 2  # the lower value is no frame of the other
    found = dice(*[save(tmp_path / "half", "c0.nii.gz", half)] * 2)
    assert found == {"label 1": 1.0, "label 2": 1.0}


def test_two_masks_of_a_case_are_refused_both_named(folders):
    for other in ("c1.nii", "c1.png", "c1.PNG"):
        file = folders / "drawn" / other
        file.write_bytes((folders / "drawn" / "c1.nii.gz").read_bytes())
        said = refused(folders / "true", folders / "drawn")
        assert "c1.nii.gz" in said and other in said
        file.unlink()
    (folders / "drawn" / "._c1.nii.gz").write_bytes(b"a fork of macOS")
    assert dice(folders / "true", folders / "drawn")["label 2"] == pytest.approx(MOVED)


def test_splits_folds_and_patients_of_a_table_of_masks(folders):
    save(folders / "drawn", "c1.nii.gz", as_values(TRUE, 1, 2, 4))  # c0 has a moved block, c1 none
    table = pd.DataFrame({"case_id": ["c0", "c1"], "mask": [str(folders / f"true/c{n}.nii.gz") for n in range(2)]})
    want = {"split": MOVED, "fold": (MOVED + 1) / 2}
    for column, values in (("split", ["test", "val"]), ("fold", [0, 1])):
        found = dice(table.assign(**{column: values}), folders / "drawn", labels=BRATS)
        assert found["oedema"] == pytest.approx(want[column])
    assert "patient_id is empty" in refused(table.assign(patient_id=["a", ""]), folders / "drawn")
    assert "row 2" in refused(table.assign(mask=[table["mask"][0], ""]), folders / "drawn")
    run = pd.concat([table.assign(target=name, split="test", baseline=None) for name in BRATS.values()])
    assert dice(folders / "true", run, labels=BRATS)["oedema"] == 1.0  # a row a structure, as runs write them


class Source:
    """What mask_files asks of a preparer."""

    def __init__(self, series):
        self.series = series

    def files(self, case):
        return [self.series]


@pytest.mark.parametrize(("classes", "values"), [(("enhancing", "oedema"), (4, 2)), (("oedema", "lesion"), (1, 2))])
def test_files_hold_the_values_of_the_card_or_count_from_one(tmp_path, classes, values):
    labels = {value: Label(name=name) for value, name in BRATS.items()}
    task = SegmentationTask(classes, "semantic", labels_by_value=labels)
    assert task.values == values and task.describe()["values"] == dict(zip(classes, values, strict=True))
    series = write_series(tmp_path / "s", 6, shape=(12, 14))
    case, place = Case("c0", None, {}, stem="c0"), (SHAPE, AFFINE, True)
    mask = np.where(TRUE > 2, 0, TRUE)
    coded = dict(zip(task.values, [Label(name=name) for name in classes], strict=True))
    write = lambda form: mask_files.write(  # noqa: E731
        mask, case, place, Source(series), coded, classes, "semantic", tmp_path / form, form, "m"
    )
    (file,) = write("nifti")
    written = np.asarray(nibabel.load(file).dataobj)
    for number, value in enumerate(values, 1):
        assert np.array_equal(written == value, mask == number)
    rows = mask_files.sizes(mask, AFFINE, True, classes, "semantic", [file], task.values)
    assert [row["value"] for row in rows] == list(values)
    (seg,) = write("dicom-seg")
    rows = mask_files.sizes(mask, AFFINE, True, classes, "semantic", [seg], task.values)
    read = read_segmentation(seg)
    for number, row in enumerate(rows, 1):  # the standard counts segments from 1: the row says which is which
        assert read.header["segments"][row["value"]] == row["target"]
        assert (read.voxels == row["value"]).sum() == (mask == number).sum() == 32


def test_segments_are_known_by_their_names(tmp_path):
    series = write_series(tmp_path / "s", 6, shape=(12, 14))
    names = lambda *order: {n: Label(name=name) for n, name in enumerate(order, 1)}  # noqa: E731
    for folder, mask, order in (
        ("t", TRUE, BRATS.values()),
        ("p", as_values(DRAWN, 2, 1, 3), ("oedema", "necrosis", "enhancing")),
    ):
        (tmp_path / folder).mkdir()
        write_segmentation(mask, series, names(*order), tmp_path / folder / "c0.dcm", model="m")
    assert "segment 1 of truth and predictions are 'necrosis' and 'oedema'" in refused(tmp_path / "t", tmp_path / "p")
    for options in ({"classes": list(BRATS.values())}, {"labels": BRATS}):
        assert dice(tmp_path / "t", tmp_path / "p", **options) == pytest.approx(WANT)


def test_where_no_true_mask_can_be_read_the_first_reason_is_told(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        save(tmp_path / "t", name, np.full(SHAPE, np.nan, np.float32))
        save(tmp_path / "p", name, TRUE)
    with pytest.raises(MedvfmError, match=r"a\.nii\.gz") as told:
        medvfm.evaluate("segmentation", tmp_path / "t", tmp_path / "p", ["dice"])
    assert "no true mask holds a structure" not in str(told.value)
