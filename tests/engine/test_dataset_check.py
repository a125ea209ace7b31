"""`data check`: masks are read as the card says they are, what is wrong is named, and one image is read once."""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medvfm import pipeline
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.engine import dataset_check
from medvfm.io.console import SILENT
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from tests.samples.command import command
from tests.samples.dicom import write_series

FOLDERS = {"name": "f", "files": "images/{case_id}.png", "patient_id": "{case_id}", "images": {"image": "{path}"}}


def checked(root, files_of_masks, **card):
    layout = FOLDERS | {"masks": files_of_masks}
    found = DataCard.model_validate({"name": "c", "title": "C", "layouts": [layout], **card})
    return dataset_check.check(found, tables.read_cases(found, root), SILENT, 0, root)


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path):
    for n in range(3):
        png(tmp_path / "images" / f"c{n}.png", np.random.default_rng(n).integers(0, 255, (20, 30)).astype(np.uint8))
    return tmp_path


def test_objects_in_a_map_and_as_a_picture_each(pictures):
    objects = np.zeros((20, 30), np.uint8)
    objects[2:5, 2:5], objects[8:12, 8:12] = 7, 9
    for n in range(3):
        png(pictures / "labels" / f"c{n}.png", objects)
        for value in (7, 9):
            png(pictures / "each" / f"c{n}" / f"{value}.png", (objects == value).astype(np.uint8) * 255)
    card = {"masks": {"kind": "instances"}}
    for mask in ("labels/{case_id}.png", "each/{case_id}"):
        found = checked(pictures, {"mask": mask}, **card)
        assert not found.errors
        assert [look.objects for look in found.looks] == [2, 2, 2]
    png(pictures / "each" / "c1" / "wrong.png", objects[:10])
    assert "c1" in checked(pictures, {"mask": "each/{case_id}"}, **card).errors[0]


def test_grey_masks_and_label_maps(pictures):
    for n in range(3):
        grey = np.full((20, 30), 100, np.uint8)
        grey[:4, :5] = 200 + n
        png(pictures / "grey" / f"c{n}.png", grey)
        png(pictures / "labels" / f"c{n}.png", (grey > 150).astype(np.uint8) * 2)
    labels = {1: {"name": "lesion"}}
    grey = {"masks": {"kind": "grey", "above": 150}}
    assert [
        look.structures for look in checked(pictures, {"mask": "grey/{case_id}.png"}, labels=labels, **grey).looks
    ] == [{"lesion": 20}] * 3
    assert len(checked(pictures, {"mask": "grey/{case_id}.png"}, labels=labels).errors) == 3
    assert "2" in checked(pictures, {"mask": "labels/{case_id}.png"}, labels=labels).errors[0]
    two = checked(pictures, {"mask": "labels/{case_id}.png"}, labels=labels | {2: {"name": "cyst"}})
    assert two.looks[0].structures == {"lesion": 0, "cyst": 20}


def test_structures_with_files_of_their_own_may_overlap(pictures):
    for n in range(3):
        for name, wide in (("heart", 4), ("lung", 9)):
            mask = np.zeros((20, 30), np.uint8)
            mask[:2, :wide] = 1
            png(pictures / name / f"c{n}.png", mask)
    found = checked(pictures, {"heart": "heart/{case_id}.png", "lung": "lung/{case_id}.png"})
    assert found.looks[0].structures == {"heart": 8, "lung": 18}


def test_masks_without_anything_and_structures_that_are_nowhere_are_told(pictures):
    labels = {1: {"name": "nodule"}, 2: {"name": "cyst"}}
    for n in range(3):
        mask = np.zeros((20, 30), np.uint8)
        mask[4:9, 4:9] = n == 0
        png(pictures / "labels" / f"c{n}.png", mask)
    found = checked(pictures, {"mask": "labels/{case_id}.png"}, labels=labels)
    assert not found.errors
    assert "2 masks of 3 without any structure" in found.warnings
    assert "structure cyst: no mask holds it" in found.warnings
    assert not any("nodule" in warning for warning in found.warnings)


def test_questions_on_one_image_read_it_once_and_counts_are_of_the_layout(pictures, monkeypatch):
    rows = "".join(f"q{n},c{n // 4}.png,why\n" for n in range(12))
    (pictures / "t.csv").write_text("case_id,image,question\n" + rows)
    plain = {"table": "t.csv", "patient_id": "{image}", "images": {"image": "images/{image}"}}
    card = DataCard.model_validate(
        {
            "name": "c",
            "title": "C",
            "counts": {"one": {"cases": 12}, "other": {"cases": 99}},
            "layouts": [plain | {"name": "one"}, plain | {"name": "other"}],
        }
    )
    seen = []
    look = dataset_check.Looker.__call__
    monkeypatch.setattr(dataset_check.Looker, "__call__", lambda self, case: (seen.append(case), look(self, case))[1])
    found = dataset_check.check(card, tables.read_cases(card, pictures), SILENT, 0)
    assert len(seen) == 3
    assert len(found.cases) == len(found.looks) == 12
    assert not found.warnings or not any("complete copy" in w for w in found.warnings)


def test_a_truncated_label_is_named_and_exits_2(tmp_path):
    for n in range(2):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
            voxels = np.random.default_rng(n).integers(0, 3, (12, 12, 12)).astype(np.uint8)
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / folder / f"hippocampus_{n:03d}.nii.gz")
    cut = tmp_path / "labels" / "hippocampus_001.nii.gz"
    assert not pipeline.check_data("msd_hippocampus", str(tmp_path), None)[0].errors
    cut.write_bytes(gzip.compress(gzip.decompress(cut.read_bytes()))[:200])
    done = command("data", "check", "msd_hippocampus", "--root", tmp_path)
    assert done.returncode == 2
    assert "hippocampus_001" in done.stderr


def test_checksums_of_the_card_are_compared(pictures):
    right = hashlib.sha256((pictures / "images" / "c0.png").read_bytes()).hexdigest()
    assert not checked(pictures, {}, checksums={"images/c0.png": right}).errors
    said = checked(pictures, {}, checksums={"images/c1.png": right, "images/gone.png": right}).errors
    assert [s.partition(":")[0] for s in said] == ["images/c1.png", "images/gone.png"]
    with pytest.raises(DataError, match="leads out"):
        checked(pictures, {}, checksums={"../x": right})


SPLIT = {"table": "t.csv", "patient_id": "{case_id}", "images": {"image": "images/{image}"}, "split": "{split}"}


def by_table(root, layout, **card):
    found = DataCard.model_validate({"name": "c", "title": "C", "layouts": [SPLIT | layout], **card})
    return dataset_check.check(found, tables.read_cases(found, root), SILENT, 0)


def test_one_picture_in_two_formats_and_one_study_in_two_splits_are_errors(pictures):
    copy = Picture.open(pictures / "images" / "c0.png")
    copy.save(pictures / "images" / "copy.bmp")
    rows = "a,c0.png,train,1.2.840.5.1\nb,c1.png,test,1.2.840.5.2\nc,{},test,{}\n"
    table, layout = pictures / "t.csv", {"study_id": "{study}"}
    for image, study, said in (
        ("c2.png", "1.2.840.5.2", None),
        ("copy.bmp", "1.2.840.5.2", "identical in two splits, first a (train) and c (test)"),
        ("c2.png", "1.2.840.5.1", "1 study in two splits"),
    ):
        table.write_text("case_id,image,split,study\n" + rows.format(image, study))
        errors = by_table(pictures, layout).errors
        assert (said in errors[0]) if said else not errors


def test_copies_under_two_patients_are_named_in_any_small_set(pictures):
    Picture.open(pictures / "images" / "c0.png").save(pictures / "images" / "d0.png", optimize=True)
    found = checked(pictures, {})
    assert found.copies == [("c0", "d0")] and not found.errors
    assert "c0 and d0 have the same pixels and different patients" in found.warnings


def test_a_study_that_only_headers_state_is_found_in_two_splits(tmp_path):
    for name, study, series in (("a", "1.2.3.4.5.1", "1.2.3.4.6.1"), ("b", "1.2.3.4.5.1", "1.2.3.4.6.2"),
                                ("c", "1.2.3.4.5.2", "1.2.3.4.6.3")):  # fmt: skip
        folder = write_series(tmp_path / name, 3, seed=ord(name), StudyInstanceUID=study, SeriesInstanceUID=series)
        assert folder.is_dir()
    layout = {"table": "t.csv", "patient_id": "{case_id}", "images": {"image": "{case_id}"}, "split": "{split}"}
    for split, said in (("test", ["1 study in two splits, first seen in cases b (test) and a (train)"]), ("train", [])):
        (tmp_path / "t.csv").write_text(f"case_id,split\na,train\nb,{split}\nc,test\n")
        assert by_table(tmp_path, layout).errors == said


def test_every_kind_of_leak_is_named_at_once(pictures):
    (pictures / "images" / "c1.png").write_bytes((pictures / "images" / "c0.png").read_bytes())
    rows = ["case_id,patient_id,image,split", "c0,p0,images/c0.png,train", "c1,p1,images/c1.png,test"]
    rows += ["c2,p1,images/c2.png,train"]
    (pictures / "cases.csv").write_text("\n".join(rows))
    card = DataCard.model_validate({"name": "c", "title": "C", "layouts": [{"table": "cases.csv"}]})
    found = dataset_check.check(card, tables.read_cases(card, pictures), SILENT, 0, pictures)
    said = " ".join(found.errors)
    assert "1 patient in two splits" in said and "identical in two splits" in said


def test_a_root_says_which_layout_lies_there(pictures, tmp_path):
    layout = {
        "name": "plain",
        "files": "images/{case_id}.png",
        "images": {"image": "{path}"},
        "patient_id": "{case_id}",
    }
    card = DataCard.model_validate({"name": "rooted", "title": "R", "layouts": [layout]})
    assert roots.remember(card, pictures) == "layout plain"
    assert "none of the layouts" in roots.remember(card, pictures / "images")
    assert roots.known()["rooted"] == str((pictures / "images").resolve())


def test_a_card_finds_its_data_beside_it(pictures, monkeypatch):
    monkeypatch.setattr(roots, "known", dict)
    layout = "{files: 'images/{case_id}.png', images: {image: '{path}'}, patient_id: '{case_id}'}"
    (pictures / "study.yaml").write_text(f"name: study\ntitle: S\nlayouts: [{layout}]\n")
    card = str(pictures / "study.yaml")
    findings, summary = pipeline.check_data(card, None, None)
    assert not findings.errors and "3 cases" in summary
    for file in (pictures / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"not here or beside the card \(wanted is .*images/.*--root DIR"):
        pipeline.check_data(card, None, None)


def test_a_picture_that_is_nearly_another_patients_is_a_warning(tmp_path):
    r = np.random.default_rng(0)
    for n in range(20):
        png(tmp_path / "images" / f"c{n}.png", r.integers(0, 255, (48, 48)).astype(np.uint8))
    twin = np.asarray(Picture.open(tmp_path / "images" / "c3.png")).astype(int) + r.integers(-3, 4, (48, 48))
    png(tmp_path / "images" / "c12.png", twin.clip(0, 255).astype(np.uint8))
    found = checked(tmp_path, {})
    assert not found.errors
    assert found.twins == [("c12", "c3")]
    assert "more alike" in found.warnings[0]


def test_patients_are_counted_where_a_case_was_read_and_missing_masks_are_told(pictures):
    for n in range(2):
        png(pictures / "labels" / f"c{n}.png", np.zeros((20, 30), np.uint8))
    (pictures / "images" / "c2.png").rename(pictures / "images" / "c3.png")
    (pictures / "images" / "c4.png").write_bytes(b"no picture")
    rows = [f"c{n},images/c{n}.png,{f'labels/c{n}.png' if n < 2 else ''}" for n in (0, 1, 3, 4)]
    table = pictures / "cases.csv"
    layout = "name: c, table: cases.csv, patient_id: '{case_id}', masks: {mask: '{mask}'}"
    card = pictures / "c.yaml"
    card.write_text(f"name: c\ntitle: C\nlabels: {{1: {{name: lesion}}}}\nlayouts: [{{{layout}}}]\n")
    table.write_text("\n".join(["case_id,image,mask", *rows]))
    found, said = pipeline.check_data(str(card), None, None)
    assert said == "c, layout c: 3 cases of 3 patients read, 1 error, 2 warnings"
    assert found.warnings == ["1 of 3 cases without a mask", "2 masks of 2 without any structure"]
    table.write_text("\n".join(["case_id,image,mask", *rows]).replace(",", ";"))
    assert pipeline.check_data(str(card), None, None)[1] == said  # with semicolons as with commas


def test_missing_labels_groups_and_lone_positives_are_counted(pictures):
    rows = ["case_id,patient_id,image,split,x,y,z,age,site"]
    rows += [f"c{n},p{n},images/c{n}.png,{s},{x},{y},{z},{age}," for n, s, x, y, z, age in
             ((0, "train", 1, 0, 1, 50), (1, "train", "", 0, 0, ""), (2, "test", 0, 1, 1, ""))]  # fmt: skip
    (pictures / "cases.csv").write_text("\n".join(rows))
    groups = {"age": {"value": "{age}", "number": True}, "site": "{site}"}
    layout = {"table": "cases.csv", "classes": {c: c for c in "xyz"}, "groups": groups}
    card = DataCard.model_validate({"name": "c", "title": "C", "layouts": [layout]})
    found = dataset_check.check(card, tables.read_cases(card, pictures), SILENT, 0, pictures)
    assert found.notes == [
        "class x: 1 of 3 cases without a label",
        "class x: only 1 positive case among 2 with a label: too few to learn from or to measure",
        "class y: only 1 positive case among 3 with a label: too few to learn from or to measure",
        "class z: only 1 negative case among 3 with a label: too few to learn from or to measure",
        "column age: 2 of 3 cases without a value",
        "column site: no case has a value",
    ]


def test_a_split_without_a_positive_is_told(pictures):
    rows = ["case_id,patient_id,image,split,x"]
    parts = [("train", 1), ("train", 1), ("train", 0), ("train", 0), ("test", 0), ("test", 0)]
    rows += [f"c{n},p{n},images/c{n % 3}.png,{s},{x}" for n, (s, x) in enumerate(parts)]
    (pictures / "cases.csv").write_text("\n".join(rows))
    card = DataCard.model_validate(
        {"name": "c", "title": "C", "layouts": [{"table": "cases.csv", "classes": {"x": "x"}}]}
    )
    found = dataset_check.check(card, tables.read_cases(card, pictures), SILENT, 0, pictures)
    assert found.notes == ["class x: no positive case in test"]
    assert any("the same pixels and different labels" in told and "c1 and c4 (x: 1 and 0)" in told
               for told in found.warnings)  # fmt: skip


def test_where_patients_are_unknown_none_are_counted(pictures):
    card = pictures / "none.yaml"
    layout = "name: c, table: none.csv"
    card.write_text(f"name: none\ntitle: N\npatients: none\nlayouts: [{{{layout}}}]\n")
    (pictures / "none.csv").write_text("case_id,image\n" + "".join(f"c{n},images/c{n}.png\n" for n in range(3)))
    assert pipeline.check_data(str(card), None, None)[1].startswith("none, layout c: 3 cases of unknown patients read")
