"""`medvfm init`: folders of odd shapes become cards and recipes that check; a patient is never guessed."""

from __future__ import annotations

import nibabel
import numpy as np
import openpyxl
import pytest
from PIL import Image

from medvfm.core import recipe as recipes
from medvfm.core.data_card import load_card
from medvfm.core.errors import DataError, RecipeError, RunError
from medvfm.io.dataset import cases as tables
from medvfm.pipeline import planning, proposing
from medvfm.pipeline.proposing.found import Told
from tests.samples import dicom


def nobody_answers(question, choices):
    return None


def propose(folder, *, task=None, patient=None, label=None, ask=nobody_answers, **more):
    return proposing.propose(folder, Told(task, patient, label), ask, **more)


def understood(written, root):
    """The plan of the proposed recipe, and the cases of the proposed card."""
    return planning.plan(recipes.load(written.recipe)), tables.read_cases(load_card(written.card), root).cases


def picture(path, value=0, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, size, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def study(folder, head, lines, names):
    for number, name in enumerate(names):
        picture(folder / name, number)
    (folder / "Tabelle (final).csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def german(tmp_path):
    folder = tmp_path / "Röntgen 2024"
    names = [f"Bilder/Aufnahme {n:02d}.png" for n in range(12)]
    lines = [f"Aufnahme {n:02d}.png;{70000 + n // 2};{('ja', 'nein')[n % 2] if n else ''};{50 + n}" for n in range(12)]
    study(folder, "Bild;MRN;Befund Pneumonie;Alter", lines, names)
    return folder


def test_a_german_table_beside_a_folder_of_pictures(german):
    written = propose(german)
    plan, cases = understood(written, german)
    assert len(cases) == 12 and {c.patient_id for c in cases} == {str(70000 + n) for n in range(6)}
    assert plan.recipe.task.classes == ("befund_pneumonie",)
    labels = [c.targets["befund_pneumonie"] for c in sorted(cases, key=lambda c: c.case_id)]
    assert np.isnan(labels[0]) and labels[1:] == [0.0, 1.0] * 5 + [0.0]
    assert {c.groups["age"] for c in cases} == {50.0 + n for n in range(12)}
    text = written.card.read_text(encoding="utf-8")
    assert "MRN" in text and "empty in 1 row" in text
    with pytest.raises(RunError, match="--overwrite"):
        propose(german)


def test_a_patient_that_nothing_names_is_refused_and_can_be_said(german, tmp_path):
    table = german / "Tabelle (final).csv"
    text = table.read_text(encoding="utf-8").replace("MRN", "Nummer")
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"who the patient is.*--patient none"):
        propose(german)
    assert not (german / "card.yaml").exists()
    _, cases = understood(propose(german, patient="none"), german)
    assert {c.patient_id for c in cases} == {None}
    _, cases = understood(propose(german, patient="file", overwrite=True), german)
    assert len({c.patient_id for c in cases}) == 12
    _, cases = understood(propose(german, patient=r"Aufnahme (\d)", overwrite=True), german)
    assert {c.patient_id for c in cases} == {"0", "1"}
    asked = []

    def answer(question, choices):
        asked.append(choices)
        return "Nummer"

    _, cases = understood(propose(german, ask=answer, overwrite=True), german)
    assert len({c.patient_id for c in cases}) == 6 and len(asked) == 1 and "none" in asked[0]
    with pytest.raises(DataError, match="did you mean 'Nummer'"):
        propose(german, patient="Numer", overwrite=True)


def test_two_columns_that_may_be_the_patient_are_asked_about_unless_they_divide_alike(german):
    table = german / "Tabelle (final).csv"
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([f"{head};Patient", *(f"{r};P{r.split(';')[1]}" for r in rows)]), encoding="utf-8")
    assert len({c.patient_id for c in understood(propose(german), german)[1]}) == 6
    table.write_text("\n".join([f"{head};Patient", *(f"{r};P{n}" for n, r in enumerate(rows))]), encoding="utf-8")
    with pytest.raises(DataError, match="several columns may name the patient"):
        propose(german, overwrite=True)


def test_an_empty_cell_of_the_patient_is_told(german):
    table = german / "Tabelle (final).csv"
    table.write_text(table.read_text(encoding="utf-8").replace(";70001;", ";;"), encoding="utf-8")
    with pytest.raises(DataError, match=r"'MRN' of patients is empty in 2 rows"):
        propose(german)


def test_several_findings_and_a_column_of_many_values(tmp_path):
    lines = [f"s{n},p{n},{n % 2},{n % 3 == 0:d},{'ABC'[n % 3]},{n % 2}" for n in range(12)]
    study(tmp_path, "file,subject_id,effusion,nodule,tissue,sex", lines, [f"x/s{n}.png" for n in range(12)])
    with pytest.raises(DataError, match=r"effusion, nodule.*--label"):
        propose(tmp_path)
    plan, cases = understood(propose(tmp_path, label="effusion,nodule"), tmp_path)
    assert plan.recipe.task.kind == "multi_label" and cases[0].targets == {"effusion": 0.0, "nodule": 1.0}
    assert cases[0].groups == {"sex": "0"}
    plan, cases = understood(propose(tmp_path, label="tissue", overwrite=True), tmp_path)
    assert plan.recipe.task.classes == ("a", "b", "c") and cases[1].targets == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_folders_named_after_classes(tmp_path):
    for n in range(4):
        picture(tmp_path / "benign" / f"patient{n}_1.png", n)
        picture(tmp_path / "malignant" / f"patient{n + 4}_1.png", n + 4)
    plan, cases = understood(propose(tmp_path), tmp_path)
    assert plan.recipe.task.classes == ("benign", "malignant")
    assert {c.patient_id for c in cases} == {f"patient{n}" for n in range(8)}
    assert sum(c.targets["malignant"] for c in cases) == 4


def masks(folder, image_name, mask_name, values=(0, 1, 2), volume=True):
    rng = np.random.default_rng(0)
    for n in range(4):
        image, mask = (folder / name.format(n=n) for name in (image_name, mask_name))
        shape = (20, 18, 6) if volume else (20, 18)
        voxels, drawn = rng.normal(size=shape).astype("f4"), rng.choice(values, shape).astype("u1")
        for path, array in ((image, voxels), (mask, drawn)):
            path.parent.mkdir(parents=True, exist_ok=True)
            if volume:
                nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
            else:
                Image.fromarray(array if array is drawn else (array * 40 + 128).clip(0, 255).astype("u1")).save(path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("scans/pt00{n}.nii.gz", "truth/pt00{n}_seg.nii.gz"),
        ("imagesTr/sub-{n}_0000.nii.gz", "labelsTr/sub-{n}.nii.gz"),
        ("a/patient{n}.nii.gz", "a/patient{n}_mask.nii.gz"),
        ("patient{n}/t1.nii.gz", "patient{n}/mask.nii.gz"),
        ("x/img_sub{n}.nii.gz", "y/mask_sub{n}.nii.gz"),
    ],
)  # fmt: skip
def test_masks_beside_images(tmp_path, image, mask):
    masks(tmp_path, image, mask)
    plan, cases = understood(propose(tmp_path, task="segmentation"), tmp_path)
    assert len(cases) == 4 and len({c.patient_id for c in cases}) == 4
    assert plan.recipe.task.classes == ("structure_1", "structure_2")


def test_values_of_masks_get_the_names_that_are_said(tmp_path):
    masks(tmp_path, "scans/pt{n}.nii.gz", "truth/pt{n}.nii.gz", values=(0, 3, 7))
    plan, _ = understood(propose(tmp_path, label="liver,spleen"), tmp_path)
    assert plan.card.labels[7].name == "spleen" and plan.recipe.task.name == "segmentation"
    with pytest.raises(DataError, match="1 names for the values 3, 7"):
        propose(tmp_path, label="liver", overwrite=True)


def test_bright_pictures_are_grey_masks_and_names_that_tell_no_patient_are_refused(tmp_path):
    masks(tmp_path, "p/{n}.png", "p/{n}_mask.png", values=(0, 255), volume=False)
    with pytest.raises(DataError, match="nothing says who the patient is"):
        propose(tmp_path)
    plan, cases = understood(propose(tmp_path, patient="([0-9]+)"), tmp_path)
    assert plan.card.masks.kind == "grey" and {c.patient_id for c in cases} == set("0123")


def test_many_numbered_objects_are_told_by_their_areas_where_no_name_says_mask(tmp_path):
    """Nearly 100 objects of a value each, beside dim pictures that hold fewer values than that."""
    rng = np.random.default_rng(0)
    numbered = np.kron(np.arange(100, dtype=np.uint8).reshape(10, 10), np.ones((12, 12), np.uint8))
    for n in range(4):
        dim, some = rng.integers(0, 20, (120, 120), dtype=np.uint8), numbered * (numbered < 96 + n)
        for side, pixels in (("Felder", dim), ("nummeriert", some)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / side / f"Feld {n}.png")
    plan, cases = understood(propose(tmp_path, task="segmentation", patient="file"), tmp_path)
    assert plan.card.masks.kind == "instances" and len(cases) == 4
    assert all("Felder" in str(case.images["image"]) for case in cases)


def test_a_table_with_patients_beside_masks(tmp_path):
    masks(tmp_path, "scans/s{n}.nii.gz", "truth/s{n}_seg.nii.gz")
    (tmp_path / "t.csv").write_text("scan,patient\n" + "".join(f"s{n}.nii.gz,P{n // 2}\n" for n in range(4)))
    _, cases = understood(propose(tmp_path), tmp_path)
    assert {c.patient_id for c in cases} == {"P0", "P1"}
    assert all(c.masks["mask"][0].name == f"{c.case_id[:2]}_seg.nii.gz" for c in cases)


def test_questions_and_reports(tmp_path):
    rows = [f"s{n}.png,P{n},is it {n}?,{'yes' if n % 2 else 'no'}" for n in range(6)]
    study(tmp_path / "vqa", "image,patient_id,question,answer", rows, [f"s{n}.png" for n in range(6)])
    plan, cases = understood(propose(tmp_path / "vqa"), tmp_path / "vqa")
    assert plan.recipe.task.name == "question_answering" and cases[0].question == "is it 0?" and len(cases) == 6
    (tmp_path / "vqa" / "Tabelle (final).csv").write_text(
        "image,question,answer\ns0.png,a?,yes\ns0.png,b?,no\ns1.png,a?,no"
    )
    _, cases = understood(propose(tmp_path / "vqa", patient="file", overwrite=True), tmp_path / "vqa")
    assert [c.patient_id for c in cases] == ["s0.png", "s0.png", "s1.png"]  # questions on one image stay together
    rows = [f"s{n}.png,P{n},No effusion and no pneumothorax in image {n}." for n in range(6)]
    study(tmp_path / "text", "image,patient_id,report", rows, [f"s{n}.png" for n in range(6)])
    plan, cases = understood(propose(tmp_path / "text"), tmp_path / "text")
    assert plan.recipe.task.name == "retrieval" and cases[2].text.endswith("image 2.")


def test_a_table_that_names_no_image_is_passed_by_where_masks_make_a_study(tmp_path):
    masks(tmp_path, "imagesTr/sub-{n}.nii.gz", "labelsTr/sub-{n}.nii.gz")
    (tmp_path / "dataset.json").write_text('{"name": "x", "labels": {"0": "background"}}')
    (tmp_path / "prices.csv").write_text("what,price\nMR,500\n")
    _, cases = understood(propose(tmp_path), tmp_path)
    assert len(cases) == 4


def test_elsewhere_than_the_data(german, tmp_path):
    written = propose(german, out=tmp_path / "mine")
    plan, cases = understood(written, german)
    assert plan.recipe.data.root == str(german.resolve()) and len(cases) == 12


@pytest.mark.parametrize(
    ("make", "task", "said"),
    [
        (lambda f: None, None, "no image that can be read"),
        (lambda f: picture(f / "a.png"), None, "task is not clear"),
        (lambda f: picture(f / "a.png"), "segmentation", "no masks"),
        (lambda f: study(f, "name,x", ["nothing,1"], ["a.png"]), None, "no column names the images"),
    ],
)
def test_what_cannot_be_understood_is_said(tmp_path, make, task, said):
    make(tmp_path)
    with pytest.raises(DataError, match=said):
        propose(tmp_path, task=task)


def test_a_task_without_a_proposal_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="generation"):
        propose(tmp_path, task="generation")


def test_a_second_table_with_the_patients_is_joined(tmp_path):
    for number in range(8):
        picture(tmp_path / f"img/{number}.png", number)
    (tmp_path / "labels.csv").write_text("file,nodule\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(8)))
    (tmp_path / "who.csv").write_text(
        "file,patient_id,age\n" + "".join(f"{n}.png,P{n // 2},{40 + n}\n" for n in range(8))
    )
    written = propose(tmp_path)
    plan, cases = understood(written, tmp_path)
    assert {c.case_id.removesuffix(".png"): c.patient_id for c in cases} == {str(n): f"P{n // 2}" for n in range(8)}
    assert plan.recipe.task.classes == ("nodule",) and {c.groups["age"] for c in cases} == {40.0 + n for n in range(8)}
    assert "who.csv says patient_id, age where its file is our file" in "\n".join(written.lines)


def test_a_table_of_patients_is_joined_by_their_column(tmp_path):
    for number in range(8):
        picture(tmp_path / f"img/{number}.png", number)
    (tmp_path / "images.csv").write_text("file,MRN\n" + "".join(f"{n}.png,{n // 2}\n" for n in range(8)))
    (tmp_path / "people.csv").write_text("MRN,diagnosis,sex\n" + "".join(f"{n},{'yn'[n % 2]},F\n" for n in range(4)))
    _, cases = understood(propose(tmp_path), tmp_path)
    assert {c.case_id: c.targets["diagnosis"] for c in cases} == {f"{n}.png": float(n // 2 % 2 == 0) for n in range(8)}
    (tmp_path / "people.csv").write_text("MRN,diagnosis\n0,y\n0,n\n1,y\n2,n\n3,y\n")  # names nobody once
    with pytest.raises(DataError):
        propose(tmp_path, overwrite=True)


def test_dicom_files_of_one_folder_that_a_table_names_are_images_of_their_own(tmp_path):
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 10), dtype=np.uint8)
        file = tmp_path / "DICOM" / f"IM{number:03d}.dcm"
        file.parent.mkdir(exist_ok=True)
        dicom.dataset(pixels, Modality="DX", SeriesInstanceUID=f"1.2.{number}").save_as(file, enforce_file_format=True)
    rows = [f"IM{n:03d},P-{n // 2},{'ja' if n % 2 else 'nein'}" for n in range(8)]
    (tmp_path / "Liste.csv").write_text("Bildname,Patienten-ID,Pneumonie\n" + "\n".join(rows) + "\n")
    written = propose(tmp_path)
    _, cases = understood(written, tmp_path)
    assert len(cases) == 8 and len({c.patient_id for c in cases}) == 4 and "8 images" in written.lines[0]
    (tmp_path / "Liste.csv").write_text("Bildname,Patienten-ID,Pneumonie\n" + rows[0] + "\n")
    with pytest.raises(DataError, match="no column names the images"):  # one slice stands for no image
        propose(tmp_path, overwrite=True)


def test_headings_in_a_later_row_of_a_workbook_are_told(tmp_path):
    picture(tmp_path / "img/a.png")
    book = openpyxl.Workbook()
    for row in (["Studie", None, None], ["Datei", "Patient", "Befund"], ["a.png", "P1", "ja"]):
        book.active.append(row)
    book.save(tmp_path / "liste.xlsx")
    with pytest.raises(DataError, match="row 2 looks like the headings: take out the rows above it"):
        propose(tmp_path)


def test_masks_beside_their_images_are_no_images(tmp_path):
    masks(tmp_path, "sub-{n}.nii.gz", "sub-{n}_seg.nii.gz")
    written = propose(tmp_path)
    found = tables.read_cases(load_card(written.card), tmp_path)
    assert len(found.cases) == 4 and found.left_out == [] and "left out" not in "\n".join(written.lines)


def test_a_table_that_names_the_folder_of_each_patient(tmp_path):
    masks(tmp_path, "scans/P{n}/ct.nii.gz", "elsewhere/P{n}.nii.gz")
    for path in (tmp_path / "elsewhere").iterdir():
        path.unlink()
    rows = "".join(f"P{n},{'yn'[n % 2]}\n" for n in range(4))
    (tmp_path / "patients.csv").write_text("PatientID,tumour\n" + rows)
    _, cases = understood(propose(tmp_path), tmp_path)
    assert {c.case_id: c.targets["tumour"] for c in cases} == {f"P{n}": float(n % 2 == 0) for n in range(4)}
    assert {c.images["image"][0].as_posix().rpartition("scans/")[2] for c in cases} == {
        f"P{n}/ct.nii.gz" for n in range(4)
    }
    for n in range(3):
        picture(tmp_path / f"scans/P{n}/second.png")  # then nothing says which image of a patient is meant
    with pytest.raises(DataError):
        propose(tmp_path, overwrite=True)
