"""SEG as written: read back by highdicom, by pydicom alone and by our own reader, and valid for dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless

from medvfm.core.data_card import Code, Label
from medvfm.core.errors import MedvfmError
from medvfm.core.image import Image
from medvfm.io.dicom.seg import read_segmentation
from medvfm.io.read import read_image
from medvfm.io.virtual_brain import make
from medvfm.io.writers import dicom_seg
from medvfm.io.writers.dicom_seg import write_segmentation
from tests.samples.dicom import AXIAL, dataset, enhanced, noise, oblique, save, write_series

NAMES = {1: Label(name="gland"), 2: Label(name="tumour"), 3: Label(name="cyst")}
LIVER = Label(
    name="liver",
    category=Code(value="91723000", meaning="Anatomical Structure"),
    type=Code(value="10200004", meaning="Liver"),
)


def planted(shape: tuple[int, int, int]) -> np.ndarray:
    """An L with a second label at its end: no flip and no change of axes leaves it as it is. Label 3 stays away."""
    i, j, k = shape
    labels = np.zeros(shape, np.uint8)
    labels[1 : i - 2, 2, min(1, k - 1)] = 1
    labels[1, 2 : j - 3, : max(1, k - 1)] = 1
    labels[i - 2, 3:6, k - 1] = 2
    return labels


def write(labels, series, path: Path, names=NAMES, **more) -> Path:
    return write_segmentation(labels, series, names, path, model="test net", version="3", **more)


def points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(n, 3) millimetres of the voxels that are set, sorted."""
    at = (np.c_[np.argwhere(mask), np.ones(int(mask.sum()))] @ np.asarray(affine).T)[:, :3]
    rounded = np.round(at, 2) + 0.0
    return rounded[np.lexsort(rounded.T)]


def by_hand(path: Path, number: int) -> np.ndarray:
    """(n, 3) LPS millimetres of a segment: frames unpacked and placed from pydicom's values alone (C.7.6.2.1.1)."""
    ds = pydicom.dcmread(path)
    count, rows, columns = int(ds.NumberOfFrames), ds.Rows, ds.Columns
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")[: count * rows * columns]
    shared, found = ds.SharedFunctionalGroupsSequence[0], []
    along, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, group in zip(bits.reshape(count, rows, columns), ds.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            row, column = np.nonzero(frame)
            found.append(origin + column[:, None] * between_columns * along + row[:, None] * between_rows * down)
    rounded = np.round(np.concatenate(found), 2) + 0.0
    return rounded[np.lexsort(rounded.T)]


def same_everywhere(path: Path, labels: np.ndarray, image: Image) -> None:
    """highdicom, pydicom by hand and our own reader find each label at the millimetres where it was."""
    own = read_segmentation(path, image)
    np.testing.assert_array_equal(own.voxels, labels)
    np.testing.assert_array_equal(own.affine, image.affine)
    theirs = highdicom.seg.segread(path)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    for number in np.unique(labels[labels > 0]).tolist():
        expected = points(labels == number, lps)
        np.testing.assert_allclose(by_hand(path, number), expected, atol=0.011)
        volume = theirs.get_volume(segment_numbers=[number], combine_segments=True)
        np.testing.assert_allclose(points(volume.array > 0, volume.affine), expected, atol=0.011)


def instances_of(path: Path) -> list[tuple[int, str]]:
    """Segment and source instance of each frame, in their order."""
    ds = pydicom.dcmread(path)
    return [
        (
            g.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
        )
        for g in ds.PerFrameFunctionalGroupsSequence
    ]


def valid(path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert any("Segmentation" in line for line in said), said
    assert [line for line in said if line.startswith("Error")] == []


ORIENTATIONS = [
    AXIAL, (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1),
    oblique(20, -15, 8), oblique(100, 30, -60),
]  # fmt: skip


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("shape", [(12, 17), (16, 10)])  # 204 pixels fill no whole bytes, 160 do
def test_a_planted_shape_lies_where_it_was_put(tmp_path, orientation, shape):
    folder = write_series(tmp_path / "ct", orientation=orientation, shape=shape)
    image = read_image(folder)
    labels = planted(image.shape_vox)
    same_everywhere(write(labels, folder, tmp_path / "seg.dcm"), labels, image)


def test_written_whole_and_valid(tmp_path):
    folder = write_series(tmp_path / "ct", orientation=oblique(20, -15, 8))
    path = write(planted(read_image(folder).shape_vox), folder, tmp_path / "seg.dcm", description="a trial")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "seg.dcm"]
    seg, source = pydicom.dcmread(path), [pydicom.dcmread(p) for p in folder.iterdir()]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID"):
        assert seg[keyword].value == source[0][keyword].value
    assert seg.SeriesInstanceUID != source[0].SeriesInstanceUID
    named = seg.ReferencedSeriesSequence[0]
    assert named.SeriesInstanceUID == source[0].SeriesInstanceUID
    referred = {r.ReferencedSOPInstanceUID for r in named.ReferencedInstanceSequence}
    assert referred == {s.SOPInstanceUID for s in source}
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["gland", "tumour", "cyst"]
    assert {s.SegmentAlgorithmName for s in seg.SegmentSequence} == {"test net"}
    assert seg.ContentDescription == "a trial"
    assert int(seg.NumberOfFrames) == 6  # label 1 is on five of six slices, label 2 on one, label 3 nowhere
    valid(path)


@pytest.mark.parametrize("upwards", [True, False])
def test_frames_follow_the_sources_own_order(tmp_path, upwards):
    folder = write_series(tmp_path / "ct", shape=(9, 11))
    image = read_image(folder)
    uid_of = image.header["uids"]["instances"]
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        k = uid_of.index(ds.SOPInstanceUID)
        ds.InstanceNumber = k + 1 if upwards else len(uid_of) - k
        ds.save_as(file)
    labels = np.zeros(image.shape_vox, np.uint8)
    labels[2, 3, 1:5], labels[4, 5, :3], labels[5, 5, 0] = 1, 2, 1
    path = write(labels, folder, tmp_path / "seg.dcm")
    expected = [(1, uid_of[k]) for k in (0, 1, 2, 3, 4)] + [(2, uid_of[k]) for k in range(3)]
    if not upwards:
        expected = [(1, uid_of[k]) for k in (4, 3, 2, 1, 0)] + [(2, uid_of[k]) for k in (2, 1, 0)]
    assert instances_of(path) == expected
    indices = [
        list(g.FrameContentSequence[0].DimensionIndexValues)
        for g in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    ]
    assert indices == sorted(indices)
    same_everywhere(path, labels, image)


@pytest.mark.parametrize("places", [range(5), [3, 0, 4, 1, 2], [4, 3, 2, 1, 0]])
@pytest.mark.parametrize("orientation", [AXIAL, (0.8, 0.6, 0, 0, 0, -1)])
def test_frames_of_an_enhanced_object(tmp_path, places, orientation):
    source = save(enhanced(places, orientation=orientation), tmp_path / "e.dcm")
    image = read_image(source)
    labels = planted(image.shape_vox)
    path = write(labels, source, tmp_path / "seg.dcm")
    same_everywhere(path, labels, image)
    theirs = pydicom.dcmread(source).PerFrameFunctionalGroupsSequence
    for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        number = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        position = theirs[number - 1].PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == position
    valid(path)


@pytest.fixture(scope="module")
def brains(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brains") / "made"
    make.make(folder, patients=3, seed=10, workers=1)
    return folder


@pytest.mark.parametrize(("name", "scanner"), [("VB0001", "A"), ("VB0002", "B"), ("VB0003", "C")])
def test_virtual_brains_of_every_scanner(brains, tmp_path, name, scanner):
    series = brains / "images" / name
    first = pydicom.dcmread(next(series.iterdir()))
    assert first.StationName.endswith(scanner)
    truth = read_image(brains / "labels" / f"{name}.nii.gz", label=True).voxels
    names = {1: Label(name="csf"), 2: Label(name="grey"), 3: Label(name="white"), 4: Label(name="lesion")}
    image = read_image(series)
    path = write(truth, series, tmp_path / "seg.dcm", names)
    same_everywhere(path, truth, image)
    combined = highdicom.seg.segread(path).get_volume(combine_segments=True)
    assert np.count_nonzero(combined.array) == np.count_nonzero(truth)
    valid(path)


@pytest.mark.parametrize("name", ["ct_3slice", "ct_image.dcm"])
def test_real_series(shared_data, tmp_path, name):
    source = shared_data / "dicom_seg" / name
    image = read_image(source)
    labels = planted(image.shape_vox)
    path = write(labels, source, tmp_path / "seg.dcm")
    same_everywhere(path, labels, image)
    valid(path)


@pytest.mark.parametrize("name", ["dicom_seg/dx_image.dcm", "nih_cxr_dicom/test1.dcm"])
def test_radiographs_have_no_place_in_the_patient(shared_data, tmp_path, name):
    source = shared_data / name
    image = read_image(source)
    labels = planted(image.shape_vox)
    path = write(labels, source, tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_segmentation(path, image).voxels, labels)
    frames = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(frames[0], (labels[:, :, 0] == 1).T)
    np.testing.assert_array_equal(frames[1], (labels[:, :, 0] == 2).T)
    valid(path)


def test_labels_that_overlap(tmp_path):
    folder = write_series(tmp_path / "ct")
    image = read_image(folder)
    layers = np.zeros((*image.shape_vox, 2), bool)
    layers[2:9, 3:8, 1:4, 0] = True
    layers[5:12, 6:10, 2:6, 1] = True
    path = write(layers, folder, tmp_path / "seg.dcm", {1: LIVER, 2: NAMES[2]})
    for number in (1, 2):
        one = read_segmentation(path, image, segments=[number])
        np.testing.assert_array_equal(one.voxels == number, layers[..., number - 1])
        expected = points(layers[..., number - 1], np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
        np.testing.assert_allclose(by_hand(path, number), expected, atol=0.011)
    seg = pydicom.dcmread(path)
    assert seg.SegmentsOverlap == "YES"
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence]
    assert [(k.CodeValue, k.CodingSchemeDesignator, k.CodeMeaning) for k in kinds] == [
        ("10200004", "SCT", "Liver"),
        ("85756007", "SCT", "Tissue"),
    ]
    valid(path)


def test_label_values_with_gaps_are_numbered_and_told(tmp_path):
    folder = write_series(tmp_path / "ct")
    labels = np.array([0, 7, 300], np.int32)[planted(read_image(folder).shape_vox)]
    path = write(labels, folder, tmp_path / "seg.dcm", {300: NAMES[2], 7: NAMES[1]})
    image = read_segmentation(path, read_image(folder))
    np.testing.assert_array_equal(image.voxels, np.searchsorted([0, 7, 300], labels))
    segments = pydicom.dcmread(path).SegmentSequence
    assert [(s.SegmentLabel, s.SegmentDescription) for s in segments] == [
        ("gland", "label value 7"), ("tumour", "label value 300"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["series", "frames", "picture"])
def test_nothing_labelled_is_an_empty_frame_a_segment(tmp_path, what):
    flat = dataset(noise((8, 8)), drop=["ImagePositionPatient", "FrameOfReferenceUID"], **NO_PLACE)
    source = save(flat if what == "picture" else enhanced([2, 0, 1]), tmp_path / "one.dcm")
    source = write_series(tmp_path / "ct") if what == "series" else source
    image = read_image(source)
    path = write(np.zeros(image.shape_vox, np.uint8), source, tmp_path / "seg.dcm")
    assert int(pydicom.dcmread(path).NumberOfFrames) == 3
    assert not pydicom.dcmread(path).pixel_array.any()
    assert not read_segmentation(path, image).voxels.any()
    valid(path)


NO_PLACE = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "DX"}


@pytest.mark.parametrize(
    "change",
    [
        {"drop": ("PatientName", "PatientID", "SliceThickness")},
        {"StudyDate": "", "StudyTime": "", "PatientSex": "", "PatientName": "", "PatientBirthDate": ""},
        {"PatientIdentityRemoved": "YES"},
        {"PatientSex": "X", "SeriesNumber": 0},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müßig^Jörg"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
        {"syntax": DeflatedExplicitVRLittleEndian},
        {"syntax": "1.2.840.10008.1.2"},
    ],
    ids=["lacking", "empty", "anonymised", "odd", "latin-1", "japanese", "deflated", "implicit"],
)
def test_sources_of_every_kind(tmp_path, change):
    source = save(dataset(noise((9, 11)), **change), tmp_path / "ct.dcm")
    image = read_image(source)
    labels = planted(image.shape_vox)
    path = write(labels, source, tmp_path / "seg.dcm")
    same_everywhere(path, labels, image)
    if "PatientName" in change:
        assert pydicom.dcmread(path).PatientName == change["PatientName"]
    valid(path)


@pytest.mark.parametrize(
    "field", [{"StudyDate": "2001.13.45"}, {"PatientBirthDate": "around 1950"}, {"PatientAge": "old"}]
)
def test_values_that_no_standard_allows_are_not_taken_over(tmp_path, field):
    ds = dataset(noise((9, 11)))
    with pydicom.config.disable_value_validation():
        for keyword, value in field.items():
            setattr(ds, keyword, value)
        source = save(ds, tmp_path / "ct.dcm")
    path = write(planted((11, 9, 1)), source, tmp_path / "seg.dcm")
    assert str(next(iter(field.values()))) not in str(pydicom.dcmread(path))
    valid(path)


def test_compressed_pixels_are_not_needed(tmp_path):
    folder = write_series(tmp_path / "ct", count=4, shape=(16, 16))
    image = read_image(folder)
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
        ds.save_as(file)
    labels = planted(image.shape_vox)
    same_everywhere(write(labels, folder, tmp_path / "seg.dcm"), labels, image)
    for file in folder.iterdir():  # frames that nobody could decode
        file.write_bytes(file.read_bytes().replace(b"\xff\xd8\xff\xf7", b"\0\0\0\0"))
    same_everywhere(write(labels, folder, tmp_path / "seg.dcm"), labels, image)


def test_a_tilted_gantry_keeps_its_positions(tmp_path):
    folder = write_series(tmp_path / "ct", step=(0, 0.8, 2.5), shape=(16, 16))
    image = read_image(folder)
    labels = planted(image.shape_vox)
    path = write(labels, folder, tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_segmentation(path, image).voxels, labels)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    np.testing.assert_allclose(by_hand(path, 1), points(labels == 1, lps), atol=0.011)
    valid(path)


def test_slices_that_occur_twice(tmp_path):
    folder = write_series(tmp_path / "ct")
    first = next(iter(sorted(folder.iterdir())))
    ds = pydicom.dcmread(first)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    ds.save_as(folder / "copy")
    image = read_image(folder)
    labels = planted(image.shape_vox)
    same_everywhere(write(labels, folder, tmp_path / "seg.dcm"), labels, image)


def test_what_a_segmentation_cannot_be_made_of(tmp_path, shared_data):
    labels = np.ones((4, 4, 1), np.uint8)

    def refused(source: Path, said: str, labels: np.ndarray = labels) -> None:
        with pytest.raises(MedvfmError, match=said) as caught:
            write(labels, source, tmp_path / "seg.dcm")
        assert not (tmp_path / "seg.dcm").exists()
        assert "Hasenbein" not in str(caught.value)

    refused(shared_data / "hippocampus" / "images" / "hippocampus_001.nii.gz", "no DICOM image.*--format nifti")
    refused(save(dataset(noise((4, 4)), drop=["FrameOfReferenceUID"]), tmp_path / "a.dcm"), "no FrameOfReferenceUID")
    refused(save(dataset(noise((4, 4)), drop=["StudyInstanceUID"]), tmp_path / "b.dcm"), "no StudyInstanceUID")
    flat = dataset(noise((4, 4)), drop=["ImagePositionPatient", "FrameOfReferenceUID"])
    refused(save(flat, tmp_path / "c.dcm"), r"allows no DICOM SEG.*--format nifti")  # CT must have one
    cine = dataset(noise((3, 4, 4), dtype=np.uint8), Modality="US")
    refused(save(cine, tmp_path / "d.dcm"), "moments or views.*--format nifti")
    refused(shared_data / "dicom_seg" / "sm_image.dcm", "whole-slide image.*--format nifti")
    refused(shared_data / "dicom_seg" / "seg_image_ct_binary_single_frame.dcm", "a segmentation itself")
    good = save(dataset(noise((4, 4))), tmp_path / "e.dcm")
    for value in (9, -3, 2_000_000_000):
        refused(good, f"label values without a name: {value}", labels.astype(np.int32) * value)
    with pytest.raises(ValueError, match=r"labels of shape \(4, 4, 2\)"):
        write(np.zeros((4, 4, 2), np.uint8), good, tmp_path / "seg.dcm")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    source = save(dataset(noise((9, 11))), tmp_path / "ct.dcm")
    path = write(planted((11, 9, 1)), source, tmp_path / "seg.dcm")
    before = path.read_bytes()

    def broken(*_: object) -> Dataset:
        raise ValueError("Hasenbein^Ottilie is odd")

    monkeypatch.setattr(dicom_seg, "_reverse", broken)
    with pytest.raises(MedvfmError, match=r"allows no DICOM SEG \(ValueError\)"):
        write(planted((11, 9, 1)), source, path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.dcm", "seg.dcm"]


def test_no_name_is_said_aloud(tmp_path, recwarn, caplog):
    source = save(dataset(noise((9, 11)), PatientName="Hasenbein"), tmp_path / "ct.dcm")
    path = write(planted((11, 9, 1)), source, tmp_path / "seg.dcm")
    assert pydicom.dcmread(path).PatientName == "Hasenbein"
    assert not [w for w in recwarn if "Hasenbein" in str(w.message)]
    assert "Hasenbein" not in caplog.text
