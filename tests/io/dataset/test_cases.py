"""Data cards and the cases that they make of files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from medvfm.core import yaml_source
from medvfm.core.data_card import DataCard, json_schema, load_card
from medvfm.core.errors import DataCardError, DataError
from medvfm.io.dataset import cases

CARDS = sorted((Path(__file__).parents[3] / "data_cards").glob("*.yaml"))
HEAD = """\
name: study
title: A study
version: "1"
statement: Ours.
licence: {name: internal}
access: local
truth: read by two readers
"""


def card(layouts: str, more: str = "") -> DataCard:
    return yaml_source.validated(
        yaml_source.parse(HEAD + more + layouts, "card.yaml", DataCardError), DataCard, DataCardError
    )


PLAIN = "layouts: [{name: table, table: cases.csv, classes: {sick: sick}, groups: {sex: '{sex}'}, split: '{split}'}]\n"


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    return tmp_path


def write(root, *rows):
    (root / "cases.csv").write_text("case_id,patient_id,image,sick,sex,split\n" + "\n".join(rows) + "\n")


def test_rows_become_cases(root):
    write(root, "1,007,a.png,1,F,train", "2,007,b.png,,M,train", "3,008,c.png,0,,test")
    found = cases.read_cases(card(PLAIN), root)
    assert [c.case_id for c in found.cases] == ["1", "2", "3"]
    assert [c.patient_id for c in found.cases] == ["007", "007", "008"]  # text, so that zeros stay
    assert [c.targets["sick"] for c in found.cases[::2]] == [1.0, 0.0]
    assert math.isnan(found.cases[1].targets["sick"])
    assert found.cases[0].groups == {"sex": "F"}
    assert found.cases[2].groups == {}
    assert found.cases[2].split == "test"
    assert found.flow[0] == {"step": "in the table", "cases": 3, "patients": 2}


def test_a_missing_file_is_counted_and_named(root):
    write(root, "1,p,a.png,1,F,train", "2,q,gone.png,0,F,train")
    found = cases.read_cases(card(PLAIN), root)
    assert [c.case_id for c in found.cases] == ["1"]
    assert found.left_out == [("2", "no such file: gone.png")]
    assert found.flow[-1] == {"step": "files missing", "cases": -1, "patients": -1}


def test_a_column_that_was_meant_is_named(root):
    write(root, "1,p,a.png,1,F,train")
    with pytest.raises(DataError, match=r"no such file: image; the column is written \{image\}"):
        cases.read_cases(card("layouts: [{name: table, table: cases.csv, images: {image: image}}]"), root)
    with pytest.raises(
        DataCardError, match=r"line \d+, labels\.1: expected a section of keys \(.*name.*\), not 'organ'"
    ):
        card(PLAIN, "labels: {1: organ}\n")


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "x/../../a.png", "http://a/b.png", "file:///etc/passwd"])
def test_a_path_out_of_the_root_stops_everything(root, path):
    write(root, f"1,p,{path},1,F,train")
    with pytest.raises(DataError, match="root"):
        cases.read_cases(card(PLAIN), root)


def test_a_link_out_of_the_root_stops_everything(root, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "x.png"
    secret.write_bytes(b"x")
    (root / "link.png").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    for name in ("link.png", "folder/x.png"):
        write(root, f"1,p,{name},1,F,train")
        with pytest.raises(DataError, match="leads out"):
            cases.read_cases(card(PLAIN), root)


@pytest.mark.parametrize("name", ["{root}/a.png", "{real}/a.png", "{root}/folder/../a.png", "./folder/../a.png"])
def test_a_path_that_stays_inside_the_root_is_one_of_its_files(root, tmp_path_factory, name):
    """Absolute, through a link to the root, or with a step back: what counts is where it ends."""
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(root)
    write(root, f"1,p,{name.format(root=link, real=root)},1,F,train")
    found = cases.read_cases(card(PLAIN), link)
    assert found.cases[0].files[0].samefile(root / "a.png")


def test_an_absolute_path_elsewhere_says_what_to_do(root):
    for name, said in (("/data/other/a.png", "leads out of the data's root.*relative to the root"),
                       ("C:/data/a.png", "a drive of Windows.*relative to the root")):  # fmt: skip
        write(root, f"1,p,{name},1,F,train")
        with pytest.raises(DataError, match=said):
            cases.read_cases(card(PLAIN), root)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("case_id,image", r"patient_id: '\{COLUMN\}' in the layout, or `patients: none` in the card"),
        ("case_id,subject,image", r"patient_id: '\{subject\}' in the layout, or `patients: none`"),
        ("patient_id,image", r"no column 'case_id' for the cases.*case_id: '\{image\}' in the layout"),
    ],
)
def test_a_table_without_patients_or_cases_says_what_the_card_must_say(root, columns, said):
    row = {"case_id": "1", "subject": "p", "patient_id": "p", "image": "a.png"}
    (root / "cases.csv").write_text(f"{columns}\n{','.join(row[c] for c in columns.split(','))}\n")
    with pytest.raises(DataCardError, match=said) as refused:
        cases.read_cases(card("layouts: [{name: table, table: cases.csv}]\n"), root)
    assert "did you mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("positive", "cell"),
    [("[Yes]", "Yes"), ("[yes]", "yes"), ("[on]", "on"), ("[true]", "TRUE"), ("[True]", "true"), ("[10:30]", "10:30"),
     ("[2020-01-02]", "2020-01-02"), ("[1_000]", "1_000"), ("[010]", "10"), ('["010"]', "010")],
)  # fmt: skip
def test_values_of_a_class_are_what_they_look_like(root, positive, cell):
    write(root, f"1,p,a.png,{cell},F,train", "2,q,b.png,never,F,train")
    layout = PLAIN.replace("sick: sick", f"sick: {{column: sick, positive: {positive}, negative: [never]}}")
    assert [c.targets["sick"] for c in cases.read_cases(card(layout), root).cases] == [1.0, 0.0]


def test_a_code_that_yaml_reads_as_a_number_is_to_be_quoted(root):
    write(root, "1,p,a.png,007,F,train")
    layout = PLAIN.replace("sick: sick", "sick: {column: sick, positive: [007], negative: [8]}")
    with pytest.raises(DataError, match=r"the card names .*'7'.*; write '007' in quotes in the card"):
        cases.read_cases(card(layout), root)


def test_kept_rows_by_a_value_that_yaml_reads_as_true(root):
    write(root, "1,p,a.png,TRUE,F,train", "2,q,b.png,false,F,train")
    found = cases.read_cases(card(PLAIN.replace("{name: table", "{keep: {sick: [true]}, name: table")), root)
    assert [c.case_id for c in found.cases] == ["1"]


def test_a_doubled_case_an_unknown_split_and_a_missing_patient_stop_everything(root):
    for rows, said in (
        (["1,p,a.png,1,F,train", "1,p,b.png,1,F,train"], "more than once"),
        (["1,p,a.png,1,F,training"], "split 'training'"),
        (["1,,a.png,1,F,train"], "has no patient"),
    ):
        write(root, *rows)
        with pytest.raises(DataError, match=said):
            cases.read_cases(card(PLAIN), root)


@pytest.mark.parametrize(("policy", "value"), [("ignore", math.nan), ("zero", 0.0), ("one", 1.0), ("soft", 0.5)])
def test_uncertain_labels_follow_the_cards_policy(root, policy, value):
    write(root, "1,p,a.png,-1,F,train", "2,q,b.png,1,F,train")
    found = cases.read_cases(card(PLAIN, f"uncertain: {policy}\n"), root).cases[0].targets["sick"]
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_listed_findings_patterns_bands_and_joins(root):
    (root / "cases.csv").write_text("file,Finding Labels,age\na.png,Edema|Mass,061Y\nb.png,No Finding,030Y\n")
    (root / "more.csv").write_text("name,patient\na.png,P1\nb.png,P2\n")
    layout = """\
layouts:
  - name: joined
    table: cases.csv
    join: [{table: more.csv, key: name, on: "{file}"}]
    case_id: "{file}"
    patient_id: "{patient}"
    images: {image: "{file}"}
    classes: {mass: {column: Finding Labels, contains: Mass}}
    extract: [{value: "{age}", pattern: "^0*(?P<years>[0-9]+)"}]
    groups:
      age: {value: "{years}", number: true}
      band: {value: "{years}", bands: [40, 60]}
"""
    found = cases.read_cases(card(layout), root).cases
    assert [c.targets["mass"] for c in found] == [1.0, 0.0]
    assert [c.patient_id for c in found] == ["P1", "P2"]
    assert [c.groups for c in found] == [{"age": 61.0, "band": "60 and over"}, {"age": 30.0, "band": "under 40"}]


def test_a_pattern_of_files_finds_masks_and_patients(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for name in ("p1_a", "p1_b", "p2_a"):
            (tmp_path / folder / f"{name}.nii.gz").touch()
    layout = """\
layouts:
  - name: folders
    when: [images, labels]
    files: "images/{case_id}.nii.gz"
    extract: [{value: "{case_id}", pattern: "^(?P<patient>p[0-9]+)_"}]
    patient_id: "{patient}"
    images: {image: "images/{case_id}.nii.gz"}
    masks: {mask: "labels/{case_id}.nii.gz"}
"""
    found = cases.read_cases(card(layout), tmp_path).cases
    assert [(c.case_id, c.patient_id) for c in found] == [("p1_a", "p1"), ("p1_b", "p1"), ("p2_a", "p2")]
    assert found[0].masks["mask"] == (tmp_path / "labels" / "p1_a.nii.gz",)


def test_the_first_layout_whose_files_are_there_is_taken(root):
    text = "layouts: [{name: official, table: official.csv}, {name: ours, table: cases.csv}]\n"
    write(root, "1,p,a.png,1,F,train")
    assert cases.read_cases(card(text), root).layout == "ours"
    with pytest.raises(DataCardError, match="did you mean 'official'"):
        cases.read_cases(card(text), root, layout="oficial")
    (root / "cases.csv").unlink()
    with pytest.raises(DataCardError, match=r"none of the layouts.*official\.csv"):
        cases.read_cases(card(text), root)


def test_a_wrong_column_names_the_nearest(root):
    write(root, "1,p,a.png,1,F,train")
    with pytest.raises(DataCardError, match="no column 'sik' for a class; did you mean 'sick'"):
        cases.read_cases(card(PLAIN.replace("sick: sick", "sick: sik")), root)


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_shipped_cards_are_whole(path):
    found = load_card(path)
    assert found.name == path.stem
    assert found.licence.name
    assert found.truth
    assert found.access == "generated" or found.download or found.instructions or found.links
    assert len({layout.name for layout in found.layouts}) == len(found.layouts)


def test_the_schema_that_shipped_cards_name_is_the_one_in_force():
    shipped = CARDS[0].parent / "card.schema.json"
    assert json.loads(shipped.read_text()) == json_schema(), "medvfm schema card > data_cards/card.schema.json"
    assert all("$schema=card.schema.json" in path.read_text().partition("\n")[0] for path in CARDS)


def test_a_card_with_an_unknown_key_names_file_line_and_key():
    with pytest.raises(
        DataCardError, match=r"card\.yaml, line 8, layouts\.0\.tabel: unknown key 'tabel'; did you mean 'table'"
    ):
        card("layouts: [{name: a, tabel: x}]\n")


def test_texts_of_several_rows_of_a_case_stand_one_after_the_other_each_once(root):
    rows = ["1,p,a.png,left lobe", "1,p,a.png,axial", "1,p,a.png,left lobe", "2,q,b.png,", "3,r,c.png,lungs"]
    (root / "cases.csv").write_text("case_id,patient_id,image,said\n" + "\n".join(rows) + "\n")
    found = cases.read_cases(card("layouts: [{name: table, table: cases.csv, repeated: any, text: '{said}'}]\n"), root)
    assert [c.text for c in found.cases] == ["left lobe axial", None, "lungs"]


def test_a_card_says_what_a_class_is_called():
    found = card("layouts: [{name: t, table: c.csv, classes: {ci: {column: ci, synonyms: [effusion, fluid]}, b: b}}]\n")
    assert found.synonyms() == {"ci": ("effusion", "fluid")}
