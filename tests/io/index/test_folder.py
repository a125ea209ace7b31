"""`data index`: every series is a row, every damaged file too; nobody is named; it goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from medvfm.core import geometry
from medvfm.core.errors import DataError
from medvfm.io.console import Console
from medvfm.io.index import folder as index_folder
from medvfm.io.index.folder import index
from medvfm.io.read import read_image
from tests.samples.command import command
from tests.samples.dicom import pydicom_folder, write_series

NAMES = ("Quillfeather", "ID-7731902", "19481103", "ACC55012")


def planted(folder: Path) -> Path:
    """A series whose header names a patient, in folders and files that are named after her too."""
    inside = folder / "quill_feather-ADA" / "ct 7731902"
    write_series(
        inside, 4, PatientName="Quillfeather^Ada", PatientID="ID-7731902", PatientBirthDate="19481103",
        AccessionNumber="ACC55012",
    )  # fmt: skip
    for number, file in enumerate(sorted(inside.iterdir())):
        file.rename(inside / f"QUILLFEATHER {number}.dcm")
    for name in ("IDx7731902.nii.gz", "03-11-1948.nii.gz", "11.03.1948.nii.gz"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([1, 2, 3, 1])), folder / name)
    damaged = next(inside.iterdir()).read_bytes()[:500]
    (folder / "19481103_damaged.dcm").write_bytes(damaged)
    return folder


def rows(table: Path) -> pd.DataFrame:
    return pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)


def test_every_series_of_real_files_is_a_row(shared_data, tmp_path):
    done = index(shared_data / "dicom_seg", tmp_path / "t.csv")
    headers = {}
    for file in (shared_data / "dicom_seg").rglob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        headers.setdefault(header.SeriesInstanceUID, []).append(header)
    table = rows(tmp_path / "t.csv")
    assert len(table) == done.rows == len(headers)
    assert sorted(table["files"]) == sorted(len(h) for h in headers.values())
    assert sorted(table["modality"]) == sorted(h[0].Modality for h in headers.values())
    assert table["patient"].nunique() == len({h[0].PatientID for h in headers.values()} - {""})
    assert table["study"].nunique() == len({h[0].StudyInstanceUID for h in headers.values()})
    stack = table[table["path"] == "ct_3slice"].iloc[0]
    image = read_image(shared_data / "dicom_seg" / "ct_3slice")
    assert (stack["size_i"], stack["size_j"], stack["size_k"]) == image.shape_vox
    assert np.allclose(
        stack[["spacing_i_mm", "spacing_j_mm", "spacing_k_mm"]].astype(float), image.spacing_mm, atol=1e-4
    )
    assert stack["orientation"] == geometry.orientation(image.affine)


def test_damaged_files_are_rows_and_never_a_crash(tmp_path):
    done = index(pydicom_folder(), tmp_path / "t.parquet")
    table = rows(tmp_path / "t.parquet")
    assert done.problems == table["problems"].notna().sum() > 10
    series = set()
    for file in pydicom_folder().rglob("*"):
        try:
            series.add(pydicom.dcmread(file, stop_before_pixels=True, force=False).SeriesInstanceUID)
        except Exception:
            continue
    assert table["series"].nunique() >= len(series - {""})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.dcm", b"", "empty"),
        ("EMPTY", b"", "empty"),
        ("text.nii.gz", b"not an image", "not an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0", "damaged"),
        ("archive.zip", b"PK\x03\x04" + b"\0" * 40, "unpack"),
        ("notes.txt", b"not an image", None),
    ],
)
def test_what_is_no_image(tmp_path, name, content, said):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    done = index(tmp_path / "in", tmp_path / "t.csv")
    problems = rows(tmp_path / "t.csv")["problems"].tolist()
    assert (len(problems), done.passed_by) == ((0, 1) if said is None else (1, 0))
    assert said is None or said in problems[0]


def test_truncated_pixels_and_missing_slices_are_told_from_headers_alone(tmp_path):
    folder = write_series(tmp_path / "in", places=[0, 1, 2, 5], count=4, SeriesInstanceUID="1.2.3")
    write_series(tmp_path / "in" / "cut", 1, SeriesInstanceUID="1.2.4")
    cut = next((folder / "cut").iterdir())
    cut.write_bytes(cut.read_bytes()[:-50])
    index(folder, tmp_path / "t.csv")
    table = rows(tmp_path / "t.csv").set_index("files")
    assert "2 slices are missing" in table.loc[4, "problems"]
    assert "the file ends early" in table.loc[1, "problems"]


def test_size_and_place_are_those_of_the_readers(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    image.SetSpacing((0.5, 0.75, 2.0))
    for name in ("a.nrrd", "a.mha", "a.nii", "a.nii.gz", "a.mhd"):
        sitk.WriteImage(image, str(folder / name))
    Picture.fromarray(np.zeros((7, 9), np.uint8)).save(folder / "a.png")
    Picture.fromarray(np.zeros((7, 9, 3), np.uint8)).save(folder / "a.jpg")
    Picture.fromarray(np.zeros((7, 9), np.uint16)).save(folder / "a.tif")
    index(folder, tmp_path / "t.csv")
    table = rows(tmp_path / "t.csv")
    assert len(table) == 8
    for _, row in table.iterrows():
        read = read_image(folder / row["path"])
        assert (row["size_i"], row["size_j"], row["size_k"]) == read.shape_vox, row["path"]
        if read.spacing_mm is None:
            assert np.isnan(row["spacing_i_mm"])
        else:
            spacing = row[["spacing_i_mm", "spacing_j_mm", "spacing_k_mm"]].astype(float)
            assert np.allclose(spacing, read.spacing_mm), row["path"]
            assert row["orientation"] == geometry.orientation(read.affine)


def test_nobody_is_named_in_the_table_or_in_what_lies_beside_it(tmp_path):
    index(planted(tmp_path / "in"), tmp_path / "out" / "t.csv")
    table = rows(tmp_path / "out" / "t.csv")
    assert len(table) == 5
    assert (table["series"].dropna() != "1.2.3.4").all()
    assert table["path"].str.startswith("~").all()
    for file in (tmp_path / "out").iterdir():
        text = file.read_bytes().decode("latin-1").lower()
        for name in (*NAMES, "feather", "7731902", "1.2.3."):
            assert name.lower() not in text, (name, file.name)


def test_with_identifiers_everything_stands_as_it_is(tmp_path):
    index(planted(tmp_path / "in"), tmp_path / "t.csv", identifiers=True)
    row = rows(tmp_path / "t.csv").set_index("files").loc[4]
    assert row["patient"] == "ID-7731902"
    assert row["path"] == "quill_feather-ADA/ct 7731902"


class Stops(Console):
    """Ctrl-C after so many files."""

    def __init__(self, after: int) -> None:
        super().__init__(quiet=True)
        self.after = after

    def track(self, items, total, label):
        for number, item in enumerate(items, 1):
            yield item
            if number == self.after:
                raise KeyboardInterrupt


def test_it_goes_on_after_an_interruption_and_reads_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(index_folder, "_CHUNK", 4)
    folder = write_series(tmp_path / "in", 10)
    with pytest.raises(KeyboardInterrupt):
        index(folder, tmp_path / "t.csv", console=Stops(5))
    assert not (tmp_path / "t.csv").exists()
    journal = tmp_path / ".t.csv.progress"
    journal.write_bytes(journal.read_bytes() + b"\x40\0\0\0half a block")
    assert index(folder, tmp_path / "t.csv").reread == 2  # two blocks of four files were whole
    index(folder, tmp_path / "once.csv")
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "once.csv").read_bytes()
    assert index(folder, tmp_path / "t.csv").reread == 0
    changed = sorted(folder.iterdir())[0]
    changed.write_bytes(changed.read_bytes()[:-1])
    assert index(folder, tmp_path / "t.csv").reread == 1
    assert "ends early" in (tmp_path / "t.csv").read_text()
    assert index(folder, tmp_path / "t.csv", identifiers=True).reread == 10  # a journal of hashes tells no identifiers


@pytest.mark.slow
def test_in_parallel_as_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(index_folder, "_CHUNK", 8)
    folder = planted(tmp_path / "in")
    write_series(folder / "more", 20, SeriesInstanceUID="1.2.9")
    index(folder, tmp_path / "serial.csv")
    monkeypatch.setattr(index_folder, "_WORTH_PROCESSES", 0)
    index(folder, tmp_path / "parallel.csv", workers=2)
    assert (tmp_path / "serial.csv").read_bytes() == (tmp_path / "parallel.csv").read_bytes()


def test_no_link_is_followed(tmp_path):
    write_series(tmp_path / "elsewhere", 2, SeriesInstanceUID="1.2.5")
    folder = write_series(tmp_path / "in", 2)
    (folder / "inside").symlink_to(next(folder.iterdir()))
    (folder / "circle").symlink_to(folder)
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    (folder / "file").symlink_to(next((tmp_path / "elsewhere").iterdir()))
    index(folder, folder / "t.csv")
    table = rows(folder / "t.csv").set_index("path")
    assert sorted(table.index) == [".", "away", "file"]
    assert table.loc[["away", "file"], "problems"].str.contains("leads out").all()
    assert table.loc[".", "files"] == 2
    assert len(index(folder, folder / "t.csv").table.read_text().splitlines()) == 4  # not a row for the table itself


def test_objects_that_are_no_images_are_no_problem_and_series_of_one_folder_are_told_apart(tmp_path):
    folder = write_series(tmp_path / "in", 3, SeriesInstanceUID="1.2.826.1")
    other = write_series(tmp_path / "other", 2, SeriesInstanceUID="1.2.826.2")
    for file in sorted(other.iterdir()):
        file.rename(folder / f"other-{file.name}")
    for modality in ("RTSTRUCT", "CT"):
        report = pydicom.dcmread(next(folder.glob("other-*")))
        del report.PixelData
        report.Modality, report.SeriesInstanceUID, report.SOPInstanceUID = modality, f"1.2.826.3{len(modality)}", "1.2"
        report.save_as(folder / f"object-{modality}.dcm")
    table = rows(index(folder, tmp_path / "t.csv", identifiers=True).table).set_index("series")
    assert table.loc["1.2.826.38", "problems"] != table.loc["1.2.826.38", "problems"]  # empty
    assert table.loc["1.2.826.32", "problems"] == "it holds no pixels"
    assert set(table.loc[["1.2.826.1", "1.2.826.2"], "path"]) == {"."}
    assert table.loc["1.2.826.2", "first_file"].startswith("other-")


def test_a_repeated_index_says_that_nothing_was_read(tmp_path, capsys):
    write_series(tmp_path / "in", 2)
    for said in ("headers read: 2/2", "every header has been read before"):
        index(tmp_path / "in", tmp_path / "t.csv", console=Console())
        assert said in capsys.readouterr().err


def test_the_users_mistakes(tmp_path):
    (tmp_path / "file.dcm").write_bytes(b"")
    with pytest.raises(DataError, match="this is a file, not a folder"):
        index(tmp_path / "file.dcm", tmp_path / "t.csv")
    with pytest.raises(DataError, match="no such folder"):
        index(tmp_path / "nowhere", tmp_path / "t.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file in it"):
        index(tmp_path / "empty", tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"\.csv or \.parquet"):
        index(tmp_path, tmp_path / "t.xlsx")


def test_the_command(tmp_path):
    folder = planted(tmp_path / "in")
    done = command("data", "index", folder, "--out", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 series of 8 files")
    assert not any(name in done.stdout + done.stderr for name in NAMES)
