"""One reader for all kinds, told apart by content; label maps on the grid of their image."""

from __future__ import annotations

import inspect
import io
import os
import re
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as pillow
from pydicom.data import get_testdata_file

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import image_kind, read_image, read_label
from tests.samples.dicom import write_series

AFFINE = np.diag([-2.0, 2, 3, 1])


def real_files(root: Path, pattern: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in the shared data")
    return found


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_dicom_by_content(tmp_path, name):
    source = Path(str(get_testdata_file(name)))
    renamed = tmp_path / "renamed.png"
    renamed.write_bytes(source.read_bytes())
    assert image_kind(renamed) == "dicom"
    stored = pydicom.dcmread(source)
    image = read_image(renamed)
    pixels = stored.pixel_array * float(stored.get("RescaleSlope", 1)) + float(stored.get("RescaleIntercept", 0))
    assert np.array_equal(image.voxels[:, :, 0].T, pixels)


def test_a_dicom_file_that_is_a_tiff_as_well(tmp_path):
    """The preamble may hold another format's mark: PS3.10, 7.1."""
    data = bytearray(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    data[:4] = b"II*\0"
    (tmp_path / "both.tif").write_bytes(data)
    assert image_kind(tmp_path / "both.tif") == "dicom"


def test_a_zip_of_a_series_is_read_as_its_folder(tmp_path, shared_data):
    folder = real_files(shared_data, "dicom_seg/ct_3slice")[0]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(folder.rglob("*.dcm")):
            archive.write(file, f"sub/folder/{file.name}")
    packed, plain = read_image(tmp_path / "a.zip"), read_image(folder)
    assert np.array_equal(packed.voxels, plain.voxels) and np.array_equal(packed.affine, plain.affine)


def test_kinds_without_their_suffix(tmp_path):
    picture = np.zeros((4, 5), np.uint8)
    for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF"):
        out = io.BytesIO()
        pillow.fromarray(picture).save(out, form)
        (tmp_path / "x").write_bytes(out.getvalue())
        assert image_kind(tmp_path / "x") == form.lower()
        assert read_image(tmp_path / "x").header["format"] == form.lower()
    (tmp_path / "x").write_bytes(nifti(tmp_path / "v.nii.gz", np.zeros((2, 2, 2), np.int16)).read_bytes())
    assert image_kind(tmp_path / "x") == "nifti"


def test_the_voxel_half_of_a_pair(tmp_path):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Pair(voxels, AFFINE), tmp_path / "a.img")
    assert np.array_equal(read_image(tmp_path / "a.img").voxels, voxels)
    assert np.array_equal(read_image(tmp_path / "a.hdr").voxels, voxels)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        read_image(tmp_path / "absent.nii.gz")
    with pytest.raises(UnreadableImage, match=r"x\.txt: not an image .* known are DICOM, NIfTI"):
        (tmp_path / "x.txt").write_text("hello " * 100)
        read_image(tmp_path / "x.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImage, match="neither a file nor a folder"):
        read_image(tmp_path / "pipe")


def test_unit_and_options(tmp_path):
    path = nifti(tmp_path / "v.nii.gz", np.zeros((2, 2, 2), np.int16))
    assert read_image(path).unit == "arbitrary" and read_image(path, unit="HU").unit == "HU"
    with pytest.raises(UnreadableImage, match=r"'Hounsfield' is not known.*HU"):
        read_image(path, unit="Hounsfield")
    with pytest.raises(UnreadableImage, match="refuse, zero"):
        read_image(path, nan="mean")
    (tmp_path / "p.png").write_bytes(b"")
    pillow.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(UnreadableImage, match="no time axis"):
        read_image(tmp_path / "p.png", time=2)


def test_nan_in_other_formats(tmp_path):
    values = np.ones((4, 5), np.float32)
    values[1, 2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UnreadableImage, match="1 voxels are NaN"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", nan="zero").voxels[2, 1, 0] == 0


def test_label_maps(tmp_path):
    path = nifti(tmp_path / "l.nii.gz", np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.float32))
    labels = read_image(path, label=True, values=[0, 1, 2])
    assert labels.unit == "label" and labels.voxels.dtype == np.int16
    with pytest.raises(UnreadableImage, match=r"l\.nii\.gz: .*not named: 2"):
        read_image(path, label=True, values=[0, 1])
    half = nifti(tmp_path / "h.nii.gz", np.full((2, 2, 2), 0.5, np.float32))
    with pytest.raises(UnreadableImage, match="not whole numbers"):
        read_image(half, label=True)


def test_real_labels_lie_on_the_grids_of_their_images(shared_data):
    for path in real_files(shared_data, "hippocampus/images/*.nii.gz")[:20]:
        label = read_label(path.parents[1] / "labels" / path.name, read_image(path), values=[0, 1, 2])
        assert set(np.unique(label.voxels)) <= {0, 1, 2}


@pytest.mark.parametrize("shift_mm, is_apart", [(0.0, False), (0.1, False), (0.5, True)])
def test_a_label_map_elsewhere_is_refused(tmp_path, shift_mm, is_apart):
    image = read_image(nifti(tmp_path / "i.nii.gz", np.zeros((4, 5, 6), np.int16)))
    moved = AFFINE.copy()
    moved[0, 3] += shift_mm
    path = nifti(tmp_path / "l.nii.gz", np.zeros((4, 5, 6), np.uint8), moved)
    if is_apart:
        with pytest.raises(UnreadableImage, match=r"l\.nii\.gz: its voxels lie up to 0\.5 mm"):
            read_label(path, image)
    else:
        assert read_label(path, image).shape_vox == (4, 5, 6)
    with pytest.raises(UnreadableImage, match="4 x 5 x 7 voxels for an image of 4 x 5 x 6"):
        read_label(nifti(tmp_path / "k.nii.gz", np.zeros((4, 5, 7), np.uint8)), image)


def test_a_label_map_stored_in_another_direction_is_turned(tmp_path):
    image = read_image(nifti(tmp_path / "i.nii.gz", np.zeros((4, 5, 6), np.int16)))
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    back = AFFINE @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    found = read_label(nifti(tmp_path / "l.nii.gz", labels[::-1], back), image)
    np.testing.assert_array_equal(found.voxels, labels)
    assert any("turned from RAS to LAS" in repair for repair in found.repairs)
    with pytest.raises(UnreadableImage, match="lie up to 6 mm"):  # by three voxels of 2 mm
        read_label(nifti(tmp_path / "m.nii.gz", labels, np.diag([2.0, 2, 3, 1])), image)


def test_a_mask_without_physical_size_needs_its_shape_alone(tmp_path):
    image = read_image(nifti(tmp_path / "i.nii.gz", np.zeros((4, 5, 1), np.int16)))
    pillow.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "m.png")
    assert read_label(tmp_path / "m.png", image).shape_vox == (4, 5, 1)


def test_a_volume_of_a_series_is_chosen_as_its_refusal_says(tmp_path):
    for echo in (1, 2):
        write_series(
            tmp_path / "s", 3, seed=echo, Modality="MR", EchoTime=10 * echo, EchoNumbers=echo, RescaleIntercept=0
        )
    with pytest.raises(UnreadableImage, match=r"it holds 2 volumes.*echo 1.*echo 2.*say which with volume=") as refused:
        read_image(tmp_path / "s")
    option = re.search(r"with (\w+)=", str(refused.value))
    assert option is not None and option[1] in inspect.signature(read_image).parameters
    first, second = read_image(tmp_path / "s", volume=1), read_image(tmp_path / "s", volume=2)
    assert first.header["echo_time_ms"] == 10 and second.header["echo_time_ms"] == 20
    named = re.search(r"\(MR, [^,]*, (echo 2[^)]*)\)", str(refused.value))
    assert named is not None
    np.testing.assert_array_equal(read_image(tmp_path / "s", volume=named[1]).voxels, second.voxels)


def test_a_choice_that_a_file_does_not_have_is_not_passed_over(tmp_path):
    path = nifti(tmp_path / "v.nii.gz", np.zeros((2, 2, 2), np.int16))
    for option in ({"volume": 1}, {"series_uid": "1.2"}, {"page": 1}):
        with pytest.raises(UnreadableImage, match=f"{next(iter(option))}=.* it is NIFTI; leave"):
            read_image(path, **option)


def test_an_array_is_no_path(tmp_path):
    with pytest.raises(UnreadableImage, match=r"a path is read, not ndarray; medvfm\.Image\(voxels, affine\)"):
        read_image(np.zeros((4, 4)))
