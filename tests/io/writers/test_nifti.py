"""NIfTI as written: read back by nibabel and SimpleITK, whole or not there at all."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medvfm.core.image import Image
from medvfm.io.read import read_image
from medvfm.io.writers.nifti import write_nifti
from tests.samples.nifti import oblique


def noise(shape=(4, 5, 6), dtype="int16") -> np.ndarray:
    r = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return r.normal(size=shape).astype(dtype)
    return r.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *((d, "a.nii") for d in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32")),
        ("int16", "a.nii.gz"),
    ],
)
def test_types_are_kept(tmp_path, dtype, name):
    image = Image(noise(dtype=dtype), oblique())
    write_nifti(image, tmp_path / name)
    theirs = nibabel.load(tmp_path / name)
    assert theirs.get_data_dtype() == dtype
    assert np.array_equal(np.asanyarray(theirs.dataobj), image.voxels)
    again = read_image(tmp_path / name)
    assert again.voxels.dtype == dtype and np.array_equal(again.voxels, image.voxels) and again.repairs == ()


@pytest.mark.parametrize("seed", range(6))
def test_qform_and_sform_place_voxels_alike(tmp_path, seed):
    image = Image(noise(), oblique(seed))
    write_nifti(image, tmp_path / "a.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert int(header["sform_code"]) == int(header["qform_code"]) == 1
    assert header.get_sform() == pytest.approx(image.affine, abs=1e-4)
    assert header.get_qform() == pytest.approx(image.affine, abs=1e-4)
    other = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    for voxel in np.ndindex(*image.shape_vox):
        lps = np.array([-1, -1, 1]) * (image.affine @ [*voxel, 1])[:3]
        assert lps == pytest.approx(other.TransformIndexToPhysicalPoint([int(v) for v in voxel]), abs=1e-3)


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_a_label_map_lies_on_its_image_to_the_bit(tmp_path, form):
    """What a viewer takes as the place of a label map is what it takes as that of its image."""
    source = nibabel.Nifti1Image(noise(), None)
    set_form = source.header.set_sform if form == "sform" else source.header.set_qform
    set_form(oblique(3).astype(np.float32), code=1)
    nibabel.save(source, tmp_path / "image.nii.gz")
    image = read_image(tmp_path / "image.nii.gz")
    label = Image(np.ones(image.shape_vox, np.uint8), image.affine, "label")
    theirs = nibabel.load(write_nifti(label, tmp_path / "label.nii.gz"))
    expected = nibabel.load(tmp_path / "image.nii.gz").affine
    assert theirs.affine.astype(np.float32).tobytes() == expected.astype(np.float32).tobytes()
    assert read_image(tmp_path / "label.nii.gz").affine.astype("f4").tobytes() == image.affine.astype("f4").tobytes()


def test_real_label_maps_lie_on_their_image_to_the_bit(shared_data, tmp_path):
    for file in sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:5]:
        image = read_image(file)
        write_nifti(Image(np.ones(image.shape_vox, np.uint8), image.affine, "label"), tmp_path / file.name)
        theirs, source = nibabel.load(tmp_path / file.name), nibabel.load(file)
        assert theirs.affine.tobytes() == source.affine.tobytes()
        assert theirs.header["pixdim"][1:4].tobytes() == source.header["pixdim"][1:4].tobytes()


def test_a_sheared_grid_has_no_qform(tmp_path):
    affine = oblique()
    affine[:3, 2] += 0.4 * affine[:3, 1]
    write_nifti(Image(noise(), affine), tmp_path / "a.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert int(header["qform_code"]) == 0 and header.get_sform() == pytest.approx(affine, abs=1e-4)
    assert read_image(tmp_path / "a.nii.gz").affine == pytest.approx(affine, abs=1e-4)


def test_colour_channels_booleans_and_views(tmp_path):
    colour = Image(noise((4, 5, 6, 3), "uint8"), oblique(), unit="RGB")
    write_nifti(colour, tmp_path / "a.nii.gz")
    assert np.array_equal(read_image(tmp_path / "a.nii.gz", channel="all").voxels, colour.voxels)
    two = Image(noise((4, 5, 6, 2)), oblique())
    write_nifti(two, tmp_path / "b.nii.gz")
    assert np.array_equal(read_image(tmp_path / "b.nii.gz", channel="all").voxels, two.voxels)
    mask = Image(noise() > 0, oblique(), unit="label")
    write_nifti(mask, tmp_path / "c.nii.gz")
    assert read_image(tmp_path / "c.nii.gz", label=True, values=[0, 1]).voxels.dtype == np.uint8
    view = Image(noise()[::-1, :, ::2].transpose(2, 0, 1), oblique())
    write_nifti(view, tmp_path / "d.nii")
    assert np.array_equal(read_image(tmp_path / "d.nii").voxels, view.voxels)


def test_longer_than_nifti1_can_say(tmp_path):
    image = Image(np.arange(40_000, dtype=np.int32).reshape(-1, 1, 1), np.eye(4))
    write_nifti(image, tmp_path / "a.nii")
    assert np.array_equal(read_image(tmp_path / "a.nii").voxels, image.voxels)


def test_equal_images_give_equal_files(tmp_path):
    image = Image(noise(), oblique())
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(image, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_nifti(Image(noise(), oblique()), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_nifti(Image(noise() + 1, oblique()), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.nii.gz"]  # noqa: PTH208


def test_only_names_of_nifti(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.nii or \.nii\.gz"):
        write_nifti(Image(noise(), oblique()), tmp_path / "a.png")
