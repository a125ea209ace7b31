"""NRRD and MetaImage as SimpleITK writes them: same voxel, same millimetre; and their faults."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def noise(shape=(4, 5, 6), dtype="int16", seed: int = 0) -> np.ndarray:
    r = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return r.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return r.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def written(path: Path, values: np.ndarray, *, seed: int = 0, vector: bool = False, packed: bool = False) -> sitk.Image:
    """Values (k, j, i[, channel]) on an oblique grid."""
    image = sitk.GetImageFromArray(values, isVector=vector)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    image.SetDirection((q * np.sign(np.linalg.det(q))).ravel().tolist())
    image.SetSpacing((0.7, 1.3, 2.9))
    image.SetOrigin((-12.0, 33.5, 101.25))
    sitk.WriteImage(image, str(path), useCompression=packed)
    return image


def assert_same(path: Path, other: sitk.Image) -> None:
    image = read_image(path)
    assert np.array_equal(image.voxels, sitk.GetArrayFromImage(other).T.astype(image.voxels.dtype))
    for voxel in np.ndindex(*image.shape_vox):
        ours_lps = np.array([-1, -1, 1]) * (image.affine @ [*voxel, 1])[:3]
        assert ours_lps == pytest.approx(other.TransformIndexToPhysicalPoint([int(v) for v in voxel]), abs=1e-6)


def refused(path: Path, match: str | None, **options) -> None:
    with pytest.raises(UnreadableImage, match=match) as caught:
        read_image(path, **options)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_oblique_grids(tmp_path, name, packed, seed):
    assert_same(tmp_path / name, written(tmp_path / name, noise(seed=seed), seed=seed, packed=packed))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(tmp_path, name, dtype):
    other = written(tmp_path / name, noise(dtype=dtype))
    image = read_image(tmp_path / name)
    assert image.voxels.dtype == ("float32" if dtype == "float64" else dtype)
    assert np.array_equal(image.voxels, sitk.GetArrayFromImage(other).T.astype(image.voxels.dtype))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_channels_need_a_decision(tmp_path, name):
    values = noise((4, 5, 6, 3), "uint8")
    written(tmp_path / name, values, vector=True)
    refused(tmp_path / name, "channel: N or all")
    assert np.array_equal(read_image(tmp_path / name, channel="all").voxels, values.transpose(2, 1, 0, 3))
    assert np.array_equal(read_image(tmp_path / name, channel=2).voxels, values[..., 2].T)
    refused(tmp_path / name, "3 does not exist", channel=3)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_cut_is_refused(tmp_path, name, packed):
    written(tmp_path / name, noise((20, 20, 20)), packed=packed)
    data = (tmp_path / name).read_bytes()
    for length in [20, 100, 300, len(data) // 2, len(data) - 5, len(data) - 1]:
        (tmp_path / name).write_bytes(data[:length])
        refused(tmp_path / name, None)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_damaged_stream_is_refused(tmp_path, name):
    written(tmp_path / name, noise((20, 20, 20)), packed=True)
    data = bytearray((tmp_path / name).read_bytes())
    data[-3] ^= 0xFF
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, "damaged")


@pytest.mark.parametrize(
    "name, old, new, match",
    [
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: 9999 9999 9999", "more than the limit"),
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: 0 5 4", "sizes are"),
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: 6 5 400", "cannot hold"),
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: six 5 4", "whole numbers"),
        ("a.nrrd", b"type: short", b"type: block", "type 'block'"),
        ("a.nrrd", b"encoding: raw", b"encoding: hex", "encoding 'hex'"),
        ("a.nrrd", b"left-posterior-superior", b"scanner-xyz", "not one of a patient"),
        ("a.nrrd", b"endian: little", b"endian: middle", "byte order"),
        ("a.nrrd", b"encoding: raw", b"byteskip: -1\nencoding: raw", "byte skip below 0"),
        ("a.nrrd", b"encoding: raw", b"byteskip: 2\nencoding: raw", "cannot hold"),
        ("a.nrrd", b"encoding: raw", b"lineskip: 1\nencoding: raw", "line skip"),
        ("a.nrrd", b"encoding: raw", b"data file: ../a.raw\nencoding: raw", "another folder"),
        ("a.nrrd", b"encoding: raw", b"data file: b.raw\nencoding: raw", "not beside it"),
        ("a.nrrd", b"space directions: (", b"space directions: (0,0,0) (0,1,0) (0,0,1)\nold: (", "affine is singular"),
        ("a.mha", b"TransformMatrix = ", b"TransformMatrix = 0 0 0 0 1 0 0 0 1\nOld = ", "affine is singular"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 9999 9999 9999", "more than the limit"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 6 -5 4", "its size is"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 6 5 400", "cannot hold"),
        ("a.mha", b"ElementDataFile = ", b"HeaderSize = 40\nElementDataFile = ", "HeaderSize"),
        ("a.mha", b"MET_SHORT", b"MET_OTHER", "type 'MET_OTHER'"),
        ("a.mha", b"ElementDataFile = LOCAL", b"ElementDataFile = ../a.raw", "another folder"),
        ("a.mha", b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", "list of files"),
        ("a.mha", b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/hostname", "another folder"),
        ("a.mha", b"ElementSpacing = ", b"ElementSpacing = -", "do not place"),
        ("a.mha", b"ElementSpacing = ", b"ElementSpacing = nan", "no valid ElementSpacing"),
    ],
)
def test_headers_that_are_wrong(tmp_path, name, old, new, match):
    written(tmp_path / name, noise())
    data = (tmp_path / name).read_bytes()
    assert old in data
    (tmp_path / name).write_bytes(data.replace(old, new, 1))
    refused(tmp_path / name, match)


def nrrd(path: Path, fields: str, data: bytes) -> Path:
    path.write_bytes(b"NRRD0004\n# made by hand\n" + fields.encode() + b"\n\n" + data)
    return path


def test_axes_in_another_order_big_endian_bzip2(tmp_path):
    values = noise((2, 5, 4, 3)).astype(">i2")  # C order here is the reverse of the axes of the file
    fields = (
        "type: int16\ndimension: 4\nspace: RAS\nsizes: 3 4 5 2\nendian: big\nencoding: bz2\n"
        "space directions: (2,0,0) (0,0,3) (0,1,0) none\nspace origin: (1,2,3)\nkinds: domain domain domain vector"
    )
    path = nrrd(tmp_path / "a.nrrd", fields, bz2.compress(values.tobytes()))
    image = read_image(path, channel=1)
    assert np.array_equal(image.voxels, values[1].T) and image.orientation == "RSA"
    assert (image.affine @ [1, 1, 1, 1])[:3].tolist() == [3, 3, 6]


def test_the_channel_axis_may_come_first(tmp_path):
    values = noise((5, 4, 3, 2), "uint8")
    fields = (
        "type: uchar\ndimension: 4\nspace: LPS\nsizes: 2 3 4 5\nencoding: raw\n"
        "space directions: none (2,0,0) (0,3,0) (0,0,1)\nspace origin: (1,2,3)\nkinds: list space space space"
    )
    path = nrrd(tmp_path / "a.nrrd", fields, values.tobytes())
    assert np.array_equal(read_image(path, time=1).voxels, values[..., 1].T)
    assert read_image(path, time=1).orientation == "LPS"


def test_spacings_without_orientation_are_flagged(tmp_path):
    fields = "type: uchar\ndimension: 3\nsizes: 2 3 4\nspacings: 1 2 3\nencoding: raw"
    image = read_image(nrrd(tmp_path / "a.nrrd", fields, bytes(24)))
    assert image.spacing_mm == (1, 2, 3) and "no orientation is stated" in image.repairs[0]
    refused(nrrd(tmp_path / "b.nrrd", fields.replace("spacings: 1 2 3\n", ""), bytes(24)), "no place in a patient")
    refused(nrrd(tmp_path / "c.nrrd", fields.replace("1 2 3\n", "1 nan 3\n"), bytes(24)), "no place in a patient")
