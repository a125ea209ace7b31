"""De-identification: every row of the standard's table, planted values anywhere in the bytes, links that survive."""

from __future__ import annotations

import csv
import datetime
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary, dictionary_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from medvfm.core.errors import DataError
from medvfm.io.deidentify import burned_in_text, profile
from medvfm.io.deidentify.dataset import Cleaner, DeidentifySettings
from medvfm.io.deidentify.folder import deidentify
from medvfm.io.deidentify.free_text import Secrets
from medvfm.io.deidentify.pseudonyms import Pseudonymizer, shift
from tests.samples.command import command
from tests.samples.dicom import dataset, deflated, noise

PLANTED = [
    *("Quillfeather", "ID-7731902", "19481103", "Hasenbein", "ACC55012", "St. Planted Hospital", "Secretprivate"),
    *("Grünwäldchen", "7731902", "Smallroad 17"),
]
MAIN = "import sys; from medvfm.cli import main; main()"
DEIDENTIFY = ("data", "deidentify")


def image(patient: str = "ID-7731902", study_date: str = "20200229", pixels: np.ndarray | None = None) -> FileDataset:
    """A valid small CT image, planted all over."""
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.SourceApplicationEntityTitle = "Quillfeather"
    d = FileDataset("", {}, b"Quillfeather" + b"\0" * 116, meta)
    d.SpecificCharacterSet, d.Modality, d.Manufacturer = "ISO_IR 192", "CT", "Maker"
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = "1.2.3.4.5.6.1", "1.2.3.4.5.6.2", "1.2.3.4.5.6.3"
    d.PatientName, d.PatientID, d.PatientBirthDate = "Quillfeather^Ada Grünwäldchen", patient, "19481103"
    d.PatientAge, d.PatientSex, d.PatientWeight = "093Y", "F", 70
    d.StudyDate = d.SeriesDate = d.ContentDate = study_date
    d.StudyTime = d.ContentTime = "101112"
    d.ReferringPhysicianName, d.AccessionNumber = "Doktor Hasenbein", "ACC55012"
    d.InstitutionName, d.StudyDescription = "St. Planted Hospital", "for Quillfeather"
    d.SeriesDescription, d.PatientComments = "THORAX Ada 5 mm", "seen by Doktor Hasenbein"
    d.PatientAddress = "Smallroad 17"
    d.Rows, d.Columns = values.shape[:2]
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
    d.BitsAllocated = d.BitsStored = 8 * values.itemsize
    d.HighBit = d.BitsStored - 1
    d.PixelData = values.tobytes()
    return d


def save(dataset: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=False)
    return path


def written(out: Path) -> list[FileDataset]:
    return [pydicom.dcmread(f) for f in sorted(out.rglob("*.dcm"))]


def cleaner(**options) -> Cleaner:
    return Cleaner(
        Pseudonymizer(b"k" * 32),
        DeidentifySettings(**options),
        "someone",
        Secrets(["Quillfeather^Ada"], ["ID-7731902"]),
    )


# The table


def standard_rows() -> dict[int, str]:
    """The independent extraction of table E.1-1."""
    rows, code = {}, ""
    for line in (Path(__file__).parent / "profile_2024b.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        if line.endswith(":"):
            code = line[:-1]
        else:
            rows.update({int(tag, 16): code for tag in line.split()})
    return rows


def test_table_agrees_with_an_independent_extraction_of_the_standard():
    ours, theirs = profile.rows(), standard_rows()
    assert len(theirs) == 617
    assert {t: ours.get(t) for t in theirs} == theirs
    assert len(ours) >= len(theirs)  # a later edition, which adds rows


VALUES = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "PN"), "Quillfeather"),
    **dict.fromkeys(("OB", "OW", "UN"), b"Quillfeather"),
    **dict.fromkeys(("US", "UL", "SS", "SL", "FL", "FD"), 7),
    "AE": "QUILLFEATHER",
    "CS": "QUILLFEATHER",
    "AS": "031Y",
    "DA": "20010203",
    "DT": "20010203040506.5+0100",
    "TM": "040506",
    "DS": "7.5",
    "IS": "7",
    "UI": "1.2.3.4.5.6.7",
    "UR": "http://quillfeather.example",
}


def every_row() -> Dataset:
    """A data set with every attribute of the table, sequences with an item that holds more of them."""
    made = Dataset()
    for tag in sorted({**standard_rows(), **profile.rows()}):
        if tag >> 16 in (0x0000, 0x0002) or tag >= 0xFFFA0000:
            continue
        vr = DicomDictionary[tag][0].split(" or ")[0] if tag in DicomDictionary else "LO"
        if vr == "SQ":
            item = Dataset()
            item.PatientID, item.PatientName, item.ReferencedSOPInstanceUID = (
                "ID-7731902",
                "Quillfeather",
                "1.2.3.4.5.6.7",
            )
            made.add_new(tag, vr, Sequence([item]))
        else:
            made.add_new(tag, vr, VALUES[vr])
    return made


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("nested", [False, True])
def test_every_row_of_the_table_gets_its_action(shifted, nested):
    before = every_row()
    dataset = every_row()
    holder = Dataset()
    holder.ReferencedImageSequence = [dataset]
    work = cleaner(shift_dates=shifted)
    work.clean(holder if nested else dataset)
    for tag, code in {**standard_rows(), **profile.rows()}.items():
        if tag not in before:
            continue
        old, name = before[tag], f"{tag:08X} {code}"
        actions = set(code.replace("*", "").split("/"))
        if tag not in dataset:
            assert "X" in actions, name
            continue
        new = dataset[tag]
        if old.VR in ("DA", "DT", "TM") and shifted and "Birth" not in old.keyword:
            days = (parsed(new.value) - parsed(old.value)).days if old.VR != "TM" else -365
            assert days <= -365, name
            assert old.VR != "TM" or new.value == old.value, name
        elif old.VR == "SQ":
            assert "X" not in actions or actions & {"D", "Z", "U"}, name
            assert "Quillfeather" not in str(new) and "1.2.3.4.5.6.7" not in str(new), name
        elif old.keyword == "PatientName":
            assert new.value == work.pseudonym
        else:
            assert actions != {"X"}, name
            assert new.value != old.value, name
            assert new.is_empty if actions <= {"X", "Z"} else not new.is_empty, name
            assert "quillfeather" not in str(new.value).lower(), name


def parsed(value: str) -> datetime.date:
    return datetime.datetime.strptime(str(value)[:8], "%Y%m%d").date()


def test_what_the_table_does_not_list_is_cleaned_or_goes():
    d = Dataset()
    d.ImageProcessingApplied, d.Manufacturer, d.EvaluatorName = "QUILLFEATHER", "Maker, for Quillfeather", "Somebody"
    d.StorageURL, d.SOPInstanceUIDOfConcatenationSource = "http://quill.example", "1.2.3.4.5.6.7"
    d.SOPClassUID, d.CodingSchemeUID, d.SegmentDescription = (
        CTImageStorage,
        "2.16.840.1.113883.6.96",
        "seen by Dr. Nobody",
    )
    d.PatientBirthDateInAlternativeCalendar, d.PlacerOrderNumberProcedure = "Showa 42-03-12", "PON 77"
    d.ContentDescription = "drawn on 12-Mar-1967"
    d.add_new(0x00080FFE, "LO", "an unknown attribute of an even group")
    d.add_new(0x60003000, "OW", b"\1\0")
    d.add_new(0x50003000, "OW", b"\1\0")
    d.add_new(0x00080000, "UL", 12)
    cleaner().clean(d)
    assert d.Manufacturer == "Maker, for ***" and not d.EvaluatorName and "StorageURL" not in d
    assert d.SOPClassUID == CTImageStorage and d.CodingSchemeUID == "2.16.840.1.113883.6.96"
    assert d.SOPInstanceUIDOfConcatenationSource.startswith("2.25.")
    assert "PatientBirthDateInAlternativeCalendar" not in d and "PlacerOrderNumberProcedure" not in d
    assert d.ContentDescription == "drawn on ***"
    assert "Nobody" not in d.SegmentDescription and not d.get("ImageProcessingApplied")
    assert not {0x00080FFE, 0x60003000, 0x50003000, 0x00080000} & {int(e.tag) for e in d}


# Planted values


@pytest.fixture
def planted(tmp_path) -> Path:
    source = tmp_path / "Quillfeather in"
    for number in range(3):
        d = image(study_date=f"202003{10 + number:02d}")
        block = d.private_block(0x0041, "PLANTED", create=True)
        block.add_new(1, "LO", "Secretprivate")
        block.add_new(2, "OB", "Quillfeather".encode("utf-16-le"))
        inner = Dataset()
        inner.PatientID, inner.PatientName = "ID-7731902", "Quillfeather"
        inner.private_block(0x0043, "PLANTED", create=True).add_new(3, "UN", b"Secretprivate")
        outer = Dataset()
        outer.ReferencedSOPInstanceUID, outer.ReferencedSOPClassUID = d.SOPInstanceUID, CTImageStorage
        outer.PurposeOfReferenceCodeSequence = [inner]
        d.OtherPatientIDsSequence, d.SourceImageSequence = [inner], [outer]
        d.ConvolutionKernel, d.SoftwareVersions = "B30", ["v1", "installed for Quillfeather"]
        d.LossyImageCompressionMethod = "QUILLFEATHER"
        d.ICCProfile = "Grünwäldchen".encode("latin-1")
        d.ImageComments = "Grünwäldchen"
        d.StationName = "invalid\\\x00 Quillfeather" * 9  # more than the representation allows: pydicom would complain
        save(d, source / "Quillfeather" / f"ID-7731902_{number}")
    (source / "report of Quillfeather.txt").write_text("Quillfeather")
    return source


@pytest.mark.parametrize("options", [[], ["--keep-text", "--keep-characteristics"], ["--remove-dates"]])
def test_no_planted_value_is_left_anywhere(planted, tmp_path, options):
    out = tmp_path / "out"
    before = {f: f.read_bytes() for f in planted.rglob("*") if f.is_file()}
    answer = command(*DEIDENTIFY, planted, "--out", out, *options)
    assert answer.returncode == 0, answer.stderr
    assert "3 files of 1 patient; 1 file left out" in answer.stdout
    assert before == {f: f.read_bytes() for f in planted.rglob("*") if f.is_file()}
    made = [f for f in out.rglob("*") if f.is_file()]
    forms = {s: {s.encode(c) for c in ("utf-8", "latin-1", "utf-16-le", "utf-16-be")} for s in PLANTED}
    for file in made:
        raw = file.read_bytes().lower()
        for secret, encoded in forms.items():
            assert secret.lower() not in str(file.relative_to(out)).lower()
            assert not [f for f in encoded if f.lower() in raw], (secret, file.suffix)
    said = (answer.stdout + answer.stderr).replace(str(tmp_path), "")
    assert not [s for s in PLANTED if s in said]
    assert sorted(f.suffix for f in made) == [".csv", ".dcm", ".dcm", ".dcm", ".json"]
    images = written(out)
    assert all(d.PatientIdentityRemoved == "YES" and d.pixel_array[7, 7] == 63 for d in images)
    assert not any(e.tag.is_private for d in images for e in d)
    assert {d.get("PatientAge") for d in images} == ({"090Y"} if "--keep-characteristics" in options else {None})
    assert {d.get("SeriesDescription") for d in images} == ({"THORAX *** 5 mm"} if "--keep-text" in options else {None})


def test_a_value_that_cannot_be_cleaned_keeps_the_file_out(tmp_path, monkeypatch):
    """The last search of the bytes stands by itself: here the cleaning of text is switched off."""
    bad, good = image(), image()
    bad.Manufacturer = "for Quillfeather"
    save(bad, tmp_path / "in" / "a")
    save(good, tmp_path / "in" / "b")
    monkeypatch.setattr(Secrets, "scrub", lambda self, text: text)
    report = deidentify(tmp_path / "in", tmp_path / "out")
    assert report.left_out == [(1, "an identifying value is left in its header")] and len(report.written) == 1


# Links


def test_uids_patients_and_intervals_stay_consistent(tmp_path):
    source = tmp_path / "in"
    first, second = image(study_date="20191231"), image(study_date="20200301")
    other = image(patient="somebody else", study_date="20200301")
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.ReferencedSOPClassUID = first.SOPInstanceUID, CTImageStorage
    second.ReferencedImageSequence = [item]
    second.AcquisitionDateTime = "20200301101112.123456"
    for name, d in {"a": first, "b": second, "c": other}.items():
        save(d, source / name)
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    deidentify(source, tmp_path / "out", key=key)
    made = {d.SOPInstanceUID: d for d in written(tmp_path / "out")}
    new = next(d for d in made.values() if "ReferencedImageSequence" in d)
    old = made[new.ReferencedImageSequence[0].ReferencedSOPInstanceUID]
    assert (parsed(new.StudyDate) - parsed(old.StudyDate)).days == 61  # over a 29 February
    assert parsed(new.StudyDate) < parsed("20190302") and new.StudyTime == "101112"
    assert new.AcquisitionDateTime == new.StudyDate + "101112.123456"
    assert new.PatientID == old.PatientID and new.StudyInstanceUID == old.StudyInstanceUID
    assert len({d.PatientID for d in made.values()}) == 2 and len({d.StudyDate for d in made.values()}) == 3
    assert all(d.file_meta.MediaStorageSOPInstanceUID == uid for uid, d in made.items())
    assert not set(made) & {d.SOPInstanceUID for d in (first, second, other)}
    deidentify(source, tmp_path / "again", key=key)
    assert {d.SOPInstanceUID for d in written(tmp_path / "again")} == set(made)
    key.write_text("another key of enough bytes")
    deidentify(source, tmp_path / "third", key=key)
    assert not {d.SOPInstanceUID for d in written(tmp_path / "third")} & set(made)
    assert not {d.PatientID for d in written(tmp_path / "third")} & {d.PatientID for d in made.values()}


def test_a_file_without_an_id_goes_with_its_study_and_mixed_studies_are_told(tmp_path):
    for number, patient in enumerate(("ID-7731902", "", "ID-7731902")):
        d = image(patient=patient)
        d.PatientName, d.Manufacturer = (
            ("Quillfeather^Ada", "Maker") if patient else ("Other^Spelling", "for Quillfeather")
        )
        save(d, tmp_path / "in" / str(number))
    report = deidentify(tmp_path / "in", tmp_path / "out")
    assert len({(d.PatientID, d.StudyDate) for d in written(tmp_path / "out")}) == 1
    assert report.mixed_studies == 0
    assert {d.Manufacturer for d in written(tmp_path / "out")} == {"Maker", "for ***"}
    save(image(patient="id-7731902"), tmp_path / "in" / "another")
    answer = command(*DEIDENTIFY, tmp_path / "in", "--out", tmp_path / "again")
    assert "1 study of several patients" in answer.stdout


def test_dates_move_by_whole_days_and_keep_their_precision():
    assert shift("20200301", -1) == "20200229" and shift("2020.03.01", -1) == "20200229"
    assert shift("20200301235959.5+0100", -366) == "20190301235959.5+0100"
    assert shift("202003", -31) == "202001" and shift("2020", -366) == "2018"
    for wrong in ("20201301", "Quillfeather", "20200101-20200202", ""):
        assert shift(wrong, -1) is None
    pseudonymizer = Pseudonymizer(b"k" * 32)
    days = {pseudonymizer.shift_days(str(n)) for n in range(500)}
    assert len(days) > 400 and max(days) <= -365 and min(days) >= -3650


REAL = [
    *("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_bigendian.dcm"),
    *("image_dfl.dcm", "SC_rgb_gdcm_KY.dcm", "emri_small_RLE.dcm", "rtdose_1frame.dcm", "liver_1frame.dcm"),
    *("MR_small_implicit.dcm", "badVR.dcm"),
]
COMMENTED = ("JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm")  # the encoder wrote its name into the frames


@pytest.mark.parametrize("name", REAL)
def test_pixels_stay_the_same_bytes(name, tmp_path):
    old = pydicom.dcmread(get_testdata_file(name))
    (tmp_path / "in").mkdir()
    shutil.copy(get_testdata_file(name), tmp_path / "in" / name)
    deidentify(tmp_path / "in", tmp_path / "out")
    (new,) = written(tmp_path / "out")
    if name in COMMENTED:
        assert len(new.PixelData) < len(old.PixelData) and np.array_equal(new.pixel_array, old.pixel_array)
    else:
        assert new.PixelData == old.PixelData
    assert new.file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
    for keyword in ("PixelSpacing", "ImagePositionPatient", "RescaleSlope", "WindowCenter", "Rows", "BitsStored"):
        assert new.get(keyword) == old.get(keyword)


def photograph(**written: object) -> bytes:
    """A JPEG as a camera writes it."""
    made, exif = io.BytesIO(), Image.Exif()
    exif[0x0132], exif[0x013B] = "1967:03:12 10:11:12", "Plantedphotographer"
    picture = Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3))
    picture.save(made, "JPEG", exif=exif, comment=b"Plantedcomment", **written)
    return made.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_what_cameras_write_into_compressed_frames_goes(tmp_path, progressive):
    d = image(pixels=np.zeros((16, 24), np.uint8))
    raw = photograph(progressive=progressive) + b"Plantedtail!"
    d.file_meta.TransferSyntaxUID, d.SamplesPerPixel, d.NumberOfFrames = pydicom.uid.JPEGBaseline8Bit, 3, 2
    d.PhotometricInterpretation, d.PlanarConfiguration = "YBR_FULL_422", 0
    d.PixelData = encapsulate([raw, raw])
    d["PixelData"].is_undefined_length = True
    save(d, tmp_path / "in" / "a")
    deidentify(tmp_path / "in", tmp_path / "out")
    (new,) = written(tmp_path / "out")
    assert not [p for p in (b"Planted", b"1967") if p in new.PixelData]
    for frame in generate_frames(new.PixelData, number_of_frames=2):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), np.asarray(Image.open(io.BytesIO(raw))))
    attributes = json.loads((tmp_path / "out" / "deidentified.json").read_text())["attributes"]
    assert attributes["PixelData"] == {"comments in compressed frames removed": 1}


def test_bytes_after_the_pixels_and_overlays_in_their_bits_go(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    long, drawn = image(pixels=values), image(pixels=values | 1 << 13)
    long.PixelData += b"Plantedtail!"
    drawn.BitsStored, drawn.HighBit = 12, 11
    drawn.add_new(0x60000100, "US", 16)
    drawn.add_new(0x60000102, "US", 13)
    for number, d in enumerate((long, drawn)):
        save(d, tmp_path / "in" / str(number))
    deidentify(tmp_path / "in", tmp_path / "out")
    assert [d.PixelData for d in written(tmp_path / "out")] == [values.tobytes()] * 2


def test_a_deflated_file_is_searched_in_the_clear(tmp_path, monkeypatch):
    d = image()
    d.file_meta.TransferSyntaxUID, d.Manufacturer = DeflatedExplicitVRLittleEndian, "Quillfeather"
    save(d, tmp_path / "in" / "a")
    monkeypatch.setattr(Secrets, "scrub", lambda self, text: text)
    with pytest.raises(DataError, match="an identifying value is left"):
        deidentify(tmp_path / "in", tmp_path / "out")


# What the folder holds besides images


def test_documents_directories_and_rubbish_are_left_out(tmp_path):
    source = tmp_path / "in"
    document, bad = image(), image()
    document.SOPClassUID, document.EncapsulatedDocument = "1.2.840.10008.5.1.4.1.1.104.1", b"%PDF Quillfeather"
    label = image()
    label.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    save(image(), source / "good")
    save(document, source / "document")
    save(label, source / "label")
    raw = save(bad, source / "cut").read_bytes()
    (source / "cut").write_bytes(raw[:200])
    (source / "empty.dcm").write_bytes(b"")
    (source / "notes.txt").write_text("Quillfeather")
    shutil.copy(get_testdata_file("DICOMDIR"), source / "DICOMDIR")
    report = deidentify(source, tmp_path / "out")
    assert len(report.written) == 1 and len(report.left_out) == 6 == report.files - 1
    reasons = " ".join(reason for _, reason in report.left_out)
    for said in ("DICOMDIR", "encapsulated", "label", "empty", "no DICOM file"):
        assert said in reasons
    summary = json.loads((tmp_path / "out" / "deidentified.json").read_text())
    assert sum(summary["left_out"].values()) == 6 and summary["attributes"]["PatientID"] == {"replaced": 1}
    rows = list(csv.DictReader((tmp_path / "out" / "deidentified.csv").open()))
    assert [r["sop_class"] for r in rows] == ["CT Image Storage"] and (tmp_path / "out" / rows[0]["file"]).exists()


def test_recorded_sound_is_left_out(tmp_path):
    d = image()
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicVoiceAudioWaveformStorage
    save(d, tmp_path / "in" / "a")
    with pytest.raises(DataError, match="people may speak"):
        deidentify(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("age", "kept"),
    [("089Y", "089Y"), ("090Y", "090Y"), ("101Y", "090Y"), ("1100M", "090Y"), ("018M", "018M"), ("", "")],
)
def test_ages_over_89_are_one_class_in_any_unit(age, kept):
    d = Dataset()
    d.PatientAge = age
    cleaner(characteristics=True).clean(d)
    assert (d.PatientAge or "") == kept


def test_report_text_is_removed_or_scrubbed(tmp_path):
    d = image()
    del d.PixelData, d.Rows, d.Columns
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    d.Modality = "SR"
    text, person = Dataset(), Dataset()
    text.ValueType, text.RelationshipType = "TEXT", "CONTAINS"
    text.TextValue = (
        "Nodule of 6 mm in Mrs. Quillfeather's left lung, compared with 3 May 2019 and 12.04.2018. "
        "Dr. Otherwise was told (tel. +49 170 5551234, o@x.example), UID 1.2.3.4.5.6.1.7."
    )
    person.ValueType, person.PersonName = "PNAME", "Hasenbein"
    d.ContentSequence = [text, person]
    save(d, tmp_path / "in" / "a")
    deidentify(tmp_path / "in", tmp_path / "gone")
    deidentify(tmp_path / "in", tmp_path / "kept", keep_text=True)
    (gone,), (kept,) = written(tmp_path / "gone"), written(tmp_path / "kept")
    assert gone.ContentSequence[0].TextValue == "REMOVED"
    assert str(gone.ContentSequence[1].PersonName).startswith("P")
    left = kept.ContentSequence[0].TextValue
    assert "Nodule of 6 mm" in left and "left lung" in left
    for value in ("Quillfeather", "2019", "2018", "Otherwise", "5551234", "@x", "1.2.3.4.5"):
        assert value not in left
    assert "113105" in {c.CodeValue for c in kept.DeidentificationMethodCodeSequence}


@pytest.mark.parametrize(
    "written",
    [
        *(
            "12-Mar-1967",
            "12/Mar/1967",
            "Mar-12-1967",
            "12 août 1967",
            "12 de marzo de 1967",
            "12. 3. 1967",
            "March 1967",
        ),
        *("昭和42年3月12日", "555.867.5309", "(555) 867-5309", "aged 95", "Doe_Jane", "DOE, Jane", "Mueller", "Muller"),
        *("Lüdenscheid", "山田太郎", "山田 太郎", "王小明", "Li Wu", "Wu, Li"),
    ],
)
def test_dates_and_names_are_found_in_every_spelling(written):
    names = ["Doe^Jane", "Müller-Lüdenscheid^Ute", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Wu^Li", "王^小明"]
    assert Secrets(names).scrub_prose(f"CT {written} axial") == "CT *** axial"


def test_names_are_found_in_sentences_and_asian_codes():
    secrets = Secrets(["Yamada^Tarou=山田^太郎"])
    assert secrets.scrub("山田さんの CT") == "***さんの CT"
    for codec in ("utf-8", "iso2022_jp", "shift_jis", "euc_jp", "gb18030"):
        assert secrets.left_in("CT 山田さん".encode(codec)), codec
    for said in ("CT 5 mm T12", "3 lesions of 12 mm, 10/15 mm", "may 12 mg", "SUV 2.5, z 120.5", "45-year-old"):
        assert Secrets(["Wu^Li", "____"], ["_,_ ,"]).scrub_prose(said) == said


def test_what_a_deidentifier_wrote_is_no_secret(tmp_path):
    d = image()
    d.PatientName = d.InstitutionName = d.PatientAddress = d.PatientID = "REMOVED"
    d.PatientBirthDate = "19000101"
    item = Dataset()
    item.ValueType, item.TextValue, item.Date = "TEXT", "a report", "20200101"
    d.ContentSequence = [item]
    save(d, tmp_path / "in" / "a")
    deidentify(tmp_path / "in", tmp_path / "out", shift_dates=False)
    assert len(written(tmp_path / "out")) == 1


def test_names_are_found_as_words_and_numbers_as_numbers():
    secrets = Secrets(["Roy^Ann=Ροή^Άννα"], ["A-1234567", "12"])
    assert secrets.scrub("roy seen, Royal hospital, Annex; Ροή 1234567, 41234567, 12 mm") == (
        "*** seen, Royal hospital, Annex; *** ***, 41234567, 12 mm"
    )
    assert secrets.scrub("Roy Ann and ROY^ANN") == "*** and ***"
    assert secrets.left_in(b"... A-1234567 ...") and not secrets.left_in(b"royal 41234567")
    assert Secrets(["Anonymous"]).scrub("Anonymous") == "Anonymous"


def test_private_elements_stay_only_where_they_are_listed(tmp_path):
    d = image()
    block = d.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "LO", "for Quillfeather")
    block.add_new(0x0E, "LO", "not listed")
    d.private_block(0x0019, "OTHER", create=True).add_new(0x0C, "IS", "5")
    save(d, tmp_path / "in" / "a")
    listed = tmp_path / "safe.txt"
    listed.write_text("# PS3.15 table E.3.10-1\n0019,xx0C,SIEMENS MR HEADER\n0019,xx0D,SIEMENS MR HEADER\n")
    deidentify(tmp_path / "in", tmp_path / "out", safe_private=listed)
    (made,) = written(tmp_path / "out")
    kept = made.private_block(0x0019, "SIEMENS MR HEADER")
    assert kept[0x0C].value == 1000 and kept[0x0D].value == "for ***" and 0x0E not in kept
    assert "OTHER" not in str(made)
    listed.write_text("0018,xx0C,SIEMENS MR HEADER\n")
    with pytest.raises(DataError, match="odd group"):
        deidentify(tmp_path / "in", tmp_path / "never", safe_private=listed)


# Text in the pixels


def ultrasound(bits: int = 8) -> FileDataset:
    d = image(pixels=np.full((20, 30), 200, np.uint8 if bits == 8 else np.uint16))
    d.Modality = "US"
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 6
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 24, 18
    d.SequenceOfUltrasoundRegions = [region]
    return d


@pytest.mark.parametrize("bits", [8, 16])
def test_all_around_the_ultrasound_regions_is_blanked(tmp_path, bits):
    save(ultrasound(bits), tmp_path / "in" / "a")
    report = deidentify(tmp_path / "in", tmp_path / "out")
    expected = np.zeros((20, 30))
    expected[6:19, 4:25] = 200
    np.testing.assert_array_equal(written(tmp_path / "out")[0].pixel_array, expected)
    assert len(report.blanked) == 1 and not report.flagged


def test_compressed_frames_are_blanked_too(tmp_path):
    old = pydicom.dcmread(get_testdata_file("SC_rgb_rle_2frame.dcm"))
    (tmp_path / "in").mkdir()
    shutil.copy(get_testdata_file("SC_rgb_rle_2frame.dcm"), tmp_path / "in" / "a")
    rules = tmp_path / "rules.yaml"
    box = {"left": 0, "top": 0, "right": 100, "bottom": 10}
    rules.write_text(yaml.safe_dump([{"match": {"Modality": ["US", "OT"], "Rows": 100}, "blank": [box]}]))
    deidentify(tmp_path / "in", tmp_path / "out", rules=rules)
    (new,) = written(tmp_path / "out")
    expected = old.pixel_array.copy()
    expected[:, :10] = 0
    np.testing.assert_array_equal(new.pixel_array, expected)
    assert not new.file_meta.TransferSyntaxUID.is_compressed


def test_images_that_may_hold_text_are_flagged_or_left_out(tmp_path):
    screen, clean = image(), image()
    screen.ImageType, clean.BurnedInAnnotation = ["DERIVED", "SECONDARY", "SCREEN SAVE"], "NO"
    save(screen, tmp_path / "in" / "a")
    save(clean, tmp_path / "in" / "b")
    assert "look at 1 image before" in command(*DEIDENTIFY, tmp_path / "in", "--out", tmp_path / "out").stdout
    report = deidentify(tmp_path / "in", tmp_path / "strict", strict_pixels=True)
    assert report.left_out == [(1, "its pixels may hold burned-in text")]
    assert burned_in_text.risk(clean) is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"match": {"Modality": "US"}}, "keys match and blank"),
        ({"match": {"Modalty": "US"}, "blank": [{"left": 0, "top": 0, "right": 1, "bottom": 1}]}, "keyword"),
        (
            {"match": {"Modality": "US"}, "blank": [{"lft": 1, "top": 0, "right": 1, "bottom": 1}]},
            "mean 'left'",
        ),
        ({"match": {"Modality": "US"}, "blank": [{"left": 3, "top": 0, "right": 1, "bottom": 1}]}, "left < right"),
    ],
)
def test_a_wrong_rule_is_refused(tmp_path, rule, said):
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump([rule]))
    with pytest.raises(DataError, match=said):
        burned_in_text.read_rules(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- &a {match: {Modality: US}, blank: []}\n- *a\n", "anchors and aliases"),
        ("- !!python/object/apply:os.system [ls]\n", "tag"),
        ("match: {Modality: US}\n", "expected a list"),
        ("- {match: [\n", "broken YAML"),
    ],
)
def test_rules_are_plain_yaml(tmp_path, text, said):
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        burned_in_text.read_rules(tmp_path / "rules.yaml")


# Refusals


def test_the_input_is_never_written_over(tmp_path):
    save(image(), tmp_path / "in" / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (tmp_path / "in", tmp_path / "in" / "deeper", tmp_path / "link", tmp_path / "full", tmp_path):
        with pytest.raises(DataError, match=r"folder"):
            deidentify(tmp_path / "in", out)
    assert command(*DEIDENTIFY, tmp_path / "in", "--out", tmp_path / "in").returncode == 2
    assert [f.name for f in (tmp_path / "in").iterdir()] == ["a"]
    short = tmp_path / "key"
    short.write_text("abc")
    with pytest.raises(DataError, match="guessed"):
        deidentify(tmp_path / "in", tmp_path / "out", key=short)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_a_valid_ct_stays_valid(tmp_path, shared_data):
    source = next(f for f in sorted((shared_data / "dicom_seg").rglob("*.dcm")) if pydicom.dcmread(f).Modality == "CT")
    (tmp_path / "in").mkdir()
    shutil.copy(source, tmp_path / "in" / "a.dcm")
    deidentify(tmp_path / "in", tmp_path / "out")
    (made,) = (tmp_path / "out").rglob("*.dcm")
    assert errors(made) <= errors(source)


def errors(path: Path) -> set[str]:
    answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace")
    return {line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")}


def test_keywords_of_the_vocabularies_exist():
    known = {entry[4] for entry in DicomDictionary.values()}
    named = profile.IDENTIFYING | profile.DESCRIPTORS | profile.CHARACTERISTICS
    assert named <= known
    assert {dictionary_keyword(t) for t in (0x00100030, 0x00100032)} == profile.BIRTH


def test_half_a_picture_and_a_deflated_bomb_are_left_out_and_named(tmp_path):
    """pydicom reads the first without a word, and inflates the second whole: here in a process with a memory cap."""
    whole = save(image(), tmp_path / "in" / "whole.dcm").read_bytes()
    (tmp_path / "in" / "half.dcm").write_bytes(whole[:-70])
    shutil.copy(deflated(dataset(noise((8, 8))), tmp_path / "small.dcm"), tmp_path / "in")
    shutil.copy(deflated(dataset(noise((5, 7))), tmp_path / "behind.dcm", zeros_mib=3 << 10), tmp_path / "in")
    bomb = b"\x09\x10\x10\x10UN\0\0" + (3 << 30).to_bytes(4, "little")
    shutil.copy(deflated(dataset(noise((5, 7))), tmp_path / "a.dcm", zeros_mib=3 << 10, only=bomb), tmp_path / "in")
    capped = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({2 << 30}, {2 << 30})); {MAIN}"
    call = [sys.executable, "-c", capped, "data", "deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "deidentified.json").read_text())
    assert report["left_out"] == {
        "damaged: its deflated header cannot be read": 1,
        "it inflates to more than 1 GiB": 1,
        "damaged: the file ends early: 58 bytes of 128 of the pixels are there": 1,
    }
    assert len(written(tmp_path / "out")) == 2


def test_the_screen_says_why_files_were_left_out(tmp_path):
    save(image(), tmp_path / "in" / "good")
    for n in range(3):
        (tmp_path / "in" / f"{n}.txt").write_text("no image")
    done = command(*DEIDENTIFY, tmp_path / "in", "--out", tmp_path / "out")
    assert "left out, 3 files: " in done.stderr and "no DICOM file" in done.stderr
    assert done.stdout.endswith("1 file of 1 patient; 3 files left out\n")
