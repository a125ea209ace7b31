"""Inputs of predict as cases: each told from all others by its name; what cannot be read has its reason."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from medvfm.core.errors import DataError
from medvfm.io.dataset import input_cases
from tests.samples import dicom


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("p1/a.png", "p2/a.png", "p3/b.png", "p3/b.jpg", "p3/.hidden.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(name)
    Path("p3/README.txt").write_text("no picture")
    return [Path("p1/a.png"), Path("p2/a.png")]


def test_names_tell_inputs_apart_and_paths_stay_as_given(pictures):
    found = input_cases.given([*pictures, Path("p3")]).cases
    assert [c.case_id for c in found] == ["p1_a", "p2_a", "p3_b 3", "p3_b 4"]
    assert [str(c.files[0]) for c in found] == ["p1/a.png", "p2/a.png", "p3/b.jpg", "p3/b.png"]
    assert len({c.stem for c in found}) == 4


def test_a_uid_without_an_ending_keeps_its_last_number(tmp_path):
    for n in range(2):
        Image.new("L", (8, 8)).save(tmp_path / f"1.2.840.{n}", format="PNG")
    found = input_cases.given([tmp_path / "1.2.840.0", tmp_path / "1.2.840.1"]).cases
    assert [c.case_id for c in found] == ["1.2.840.0", "1.2.840.1"]


def test_the_same_file_twice_is_two_cases(pictures):
    found = input_cases.given([pictures[0], pictures[0]]).cases
    assert len({c.stem for c in found}) == 2


def test_what_is_missing_or_no_image_is_named(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    found = input_cases.given([pictures[0], Path("nowhere.png"), Path("empty")])
    assert len(found.cases) == 1
    assert found.left_out == [
        ("nowhere.png", "no such file or folder"),
        ("empty", "holds no image that can be read"),
    ]


def test_a_table_names_images_beside_it(pictures, tmp_path):
    pd.DataFrame({"case_id": ["007", "8"], "image": ["p1/a.png", "p2/a.png"]}).to_csv("t.csv", index=False)
    found = input_cases.given([Path("t.csv")]).cases
    assert [(c.case_id, str(c.files[0])) for c in found] == [("007", "p1/a.png"), ("8", "p2/a.png")]
    pd.DataFrame({"case_id": ["007", "007"], "image": ["p1/a.png", "p2/a.png"]}).to_csv("t.csv", index=False)
    with pytest.raises(DataError, match="'007' stands for two inputs"):
        input_cases.given([Path("t.csv")])
    pd.DataFrame({"picture": ["p1/a.png"]}).to_csv("t.csv", index=False)
    assert "no column image" in input_cases.given([Path("t.csv")]).left_out[0][1]


def test_folders_of_series_are_one_case_each(tmp_path):
    for name in ("s1", "s2"):
        dicom.write_series(tmp_path / name, 3)
    found = input_cases.given([tmp_path]).cases
    assert [c.files for c in found] == [(tmp_path / "s1",), (tmp_path / "s2",)]
