"""Siemens mosaics against nibabel, and refused where nothing says which slice lies where."""

from __future__ import annotations

import gzip
import io
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import siemens_csa, slice_files
from medvfm.io.read import read_image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel calls its reader of DICOM experimental
    from nibabel.nicom import csareader, dicomwrappers

from tests.samples.dicom import LPS, dataset, enhanced, noise, save

FILES = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"


def siemens(name: str = "siemens_dwi_1000") -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(gzip.decompress((FILES / f"{name}.dcm.gz").read_bytes())))


def test_a_mosaic_of_a_scanner_equals_nibabel(tmp_path):
    ds = siemens()
    theirs = dicomwrappers.wrapper_from_data(ds)
    image = read_image(save(ds, tmp_path / "m.dcm"))
    assert image.shape_vox == (128, 128, 48) and "mosaic of 48 slices taken apart" in image.repairs
    # nibabel has rows first, and LPS millimetres
    np.testing.assert_array_equal(image.voxels, np.asarray(theirs.get_data()).transpose(1, 0, 2))
    np.testing.assert_allclose(image.affine, LPS @ theirs.affine[:, [1, 0, 2, 3]], atol=1e-3)


def test_tiles_lie_where_they_were_scanned(tmp_path):
    """By hand: a mosaic of 3 x 3 tiles of 12 x 16; its corner lies one tile's size further out than that of a tile."""
    ds = made(0, 0, 1)
    image = read_image(save(ds, tmp_path / "m.dcm"))
    assert image.voxels[5, 5].tolist() == [10 * (n + 1) for n in range(7)]
    assert image.spacing_mm == pytest.approx((2, 1, 4))
    # mosaic of 36 x 48, tiles of 12 x 16: (36 - 12) / 2 columns of 2 mm and (48 - 16) / 2 rows of 1 mm
    np.testing.assert_allclose(image.affine[:3, 3], [-(-60 + 24), -(-80 + 16), 10])


def made(*normal: float, count: int = 7) -> pydicom.FileDataset:
    tiles = np.zeros((48, 36), np.uint16)
    for n in range(count):
        tiles[n // 3 * 16 : n // 3 * 16 + 16, n % 3 * 12 : n % 3 * 12 + 12] = 10 * (n + 1)
    ds = dataset(tiles, Modality="MR", RescaleIntercept=0, ImagePositionPatient=[-60, -80, 10], PixelSpacing=[1, 2],
                 ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], SpacingBetweenSlices=4)  # fmt: skip
    ds.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    if normal:
        ds.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(*normal))
    return ds


def csa(*normal: float) -> bytes:
    """A private header that states the normal alone."""
    items = b""
    for value in normal:
        text = f"{value:.8f}".encode().ljust(12, b"\0")
        items += np.array([len(text), len(text), 77, len(text)], "<i4").tobytes() + text
    tag = b"SliceNormalVector".ljust(64, b"\0") + np.array([3], "<i4").tobytes() + b"FD\0\0"
    return b"SV10\4\3\2\1" + np.array([1, 77], "<u4").tobytes() + tag + np.array([4, 3, 77], "<i4").tobytes() + items


@pytest.mark.parametrize(
    ("kind", "matrix", "slices"),
    [
        (["DERIVED", "PRIMARY", "M", "ND"], [16, 0, 0, 12], 7),  # another program took the word away
        (["ORIGINAL", "PRIMARY", "M", "mosaic"], [], 7),
        (["DERIVED", "PRIMARY", "M", "ND"], [48, 0, 0, 36], 1),  # one slice, cut out of a mosaic
        (["DERIVED", "PRIMARY", "M", "ND"], [24, 0, 0, 18], 1),  # enlarged
        (["DERIVED", "PRIMARY", "M", "ND"], [], 1),  # nothing tells
    ],
)
def test_the_private_header_tells_a_mosaic_too(tmp_path, kind, matrix, slices):
    ds = made(0, 0, 1)
    ds.ImageType = kind
    if matrix:
        ds.AcquisitionMatrix = matrix
    assert read_image(save(ds, tmp_path / "m.dcm")).shape_vox[2] == slices


def test_slices_that_follow_each_other_against_the_normal(tmp_path):
    """The first tile is then the last along the normal of the plane; its place in the patient stays the same."""
    up = read_image(save(made(0, 0, 1), tmp_path / "up.dcm"))
    down = read_image(save(made(0, 0, -1), tmp_path / "down.dcm"))
    assert down.voxels[5, 5].tolist() == [10 * (n + 1) for n in reversed(range(7))]
    np.testing.assert_allclose(down.affine[:3, 3], up.affine[:3, 3] - [0, 0, 6 * 4])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ds: ds.private_block(0x29, "SIEMENS CSA HEADER").__delitem__(0x10), "direction in which its slices"),
        (lambda ds: ds.private_block(0x19, "SIEMENS MR HEADER").__delitem__(0x0A), "number of its slices"),
        (lambda ds: ds.__delattr__("SpacingBetweenSlices"), "distance between its slices"),
        (lambda ds: ds.__delattr__("ImagePositionPatient"), "no position"),
        (lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), "another direction of slices"),
        (lambda ds: ds.private_block(0x19, "SIEMENS MR HEADER").__getitem__(0x0A).__setattr__("value", 20), "no 5 x 5"),
    ],
)
def test_a_mosaic_whose_facts_are_missing_is_refused(tmp_path, change, said):
    ds = made(0, 0, 1)
    change(ds)
    with pytest.raises(UnreadableImage, match=f"a Siemens mosaic whose slices cannot be placed: .*{said}"):
        read_image(save(ds, tmp_path / "m.dcm"))


def test_moments_of_a_series_are_volumes_to_choose_from(tmp_path):
    for n in range(3):
        save(made(0, 0, 1), tmp_path / "s" / f"{n}.dcm")
    with pytest.raises(UnreadableImage, match=r"it holds 3 volumes or pictures.*say which with volume="):
        read_image(tmp_path / "s")
    assert read_image(tmp_path / "s", volume=2).shape_vox == (12, 16, 7)


def test_what_only_says_mosaic_is_read_as_it_is(tmp_path):
    kinds = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    frames = enhanced(range(5))
    frames.ImageType = kinds
    assert read_image(save(frames, tmp_path / "e.dcm")).shape_vox[2] == 5
    one = dataset(noise((9, 11)), Modality="MR", ImageType=kinds, AcquisitionMatrix=[11, 0, 0, 9])
    assert read_image(save(one, tmp_path / "one.dcm")).shape_vox == (11, 9, 1)


def test_a_mosaic_is_no_source_of_slices_for_a_segmentation_object(tmp_path):
    with pytest.raises(UnreadableImage, match="whose slices are no files or frames of their own"):
        slice_files.slices_of(save(made(0, 0, 1), tmp_path / "m.dcm"))


@pytest.mark.parametrize("name", ["csa2_b0.bin", "csa2_b1000.bin", "csa_str_valid.bin"])
def test_private_headers_equal_nibabel(name):
    raw = (FILES / name).read_bytes()
    theirs = csareader.read(raw)["tags"]
    found = siemens_csa.values(raw)
    assert found.keys() == theirs.keys()
    for key in ("NumberOfImagesInMosaic", "SliceNormalVector", "PhaseEncodingDirectionPositive"):
        if key in theirs:
            assert siemens_csa.numbers(found, key, len(theirs[key]["items"])) == tuple(map(float, theirs[key]["items"]))


@pytest.mark.parametrize("cut", [0, 7, 12, 60, 90, 400])
def test_a_private_header_that_is_cut_says_nothing(cut):
    assert siemens_csa.values((FILES / "csa2_b0.bin").read_bytes()[:cut]) == {}
