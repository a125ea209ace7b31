"""Damaged and hostile NIfTI files: a typed error that names the file, and no memory taken on a header's word."""

from __future__ import annotations

import contextlib
import gzip
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image

AFFINE = np.diag([-2.0, 2, 3, 1])


@pytest.fixture
def good(tmp_path) -> bytes:
    """A small .nii.gz, as bytes."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "good.nii.gz")
    return (tmp_path / "good.nii.gz").read_bytes()


def refused(tmp_path: Path, data: bytes, match: str | None = None, name: str = "bad.nii.gz", **options) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=match) as caught:
        read_image(path, **options)
    assert name in str(caught.value)


def header_with(good: bytes, offset: int, form: str, *values) -> bytes:
    raw = bytearray(gzip.decompress(good))
    struct.pack_into(form, raw, offset, *values)
    return bytes(raw)


def dims(*sizes: int) -> tuple[int, ...]:
    return (len(sizes), *sizes, *[1] * (7 - len(sizes)))


def test_what_is_good_is_read(tmp_path, good):
    (tmp_path / "a.nii.gz").write_bytes(good)
    assert read_image(tmp_path / "a.nii.gz").shape_vox == (20, 20, 20)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x1f\x8b", b"\0" * 2000, b"\x1f\x8b" + b"\0" * 50])
def test_no_image_at_all(tmp_path, data):
    refused(tmp_path, data, "empty|not an image|gzip|truncated")


def test_a_gzip_of_something_else(tmp_path):
    refused(tmp_path, gzip.compress(b"text " * 1000), "gzip file that holds no NIfTI")


def test_every_cut_of_a_gzip_is_refused(tmp_path, good):
    for length in [1, 5, 11, 100, 400, len(good) // 2, len(good) - 9, len(good) - 4, len(good) - 1]:
        refused(tmp_path, good[:length])


def test_every_cut_of_a_plain_file_is_refused(tmp_path, good):
    raw = gzip.decompress(good)
    for length in [1, 100, 347, 348, 352, 400, len(raw) // 2, len(raw) - 1]:
        refused(tmp_path, raw[:length], name="bad.nii")


def test_a_wrong_checksum_or_length_in_the_trailer(tmp_path, good):
    for at in (-8, -5, -4, -1):
        data = bytearray(good)
        data[at] ^= 0xFF
        refused(tmp_path, bytes(data), "damaged")


def test_a_damaged_stream_never_passes(tmp_path, good):
    r = np.random.default_rng(1)
    raw = gzip.decompress(good)
    for _ in range(60):
        data = bytearray(good)
        at = int(r.integers(12, len(data)))
        data[at] ^= 1 << int(r.integers(8))
        (tmp_path / "bad.nii.gz").write_bytes(data)
        try:
            assert gzip.decompress(data) == raw  # unless nothing that counts was hit
        except (OSError, EOFError, zlib.error):
            refused(tmp_path, bytes(data))


def test_garbage_behind_the_stream_and_voxels_too_many(tmp_path, good):
    refused(tmp_path, good + b"garbage", "truncated or damaged")
    raw = gzip.decompress(good)
    refused(tmp_path, gzip.compress(raw + bytes(10_000)), "continues after the voxels")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw + bytes(100)) + bytes(512))
    assert read_image(tmp_path / "a.nii.gz").repairs == ("100 bytes behind the voxels ignored",)


@pytest.mark.parametrize("sizes", [(0, 20, 20), (-20, 20, 20), (20, 20, -1), (20, 0, 20), (20, 20, 20, 0)])
def test_sizes_that_cannot_be(tmp_path, good, sizes):
    refused(tmp_path, header_with(good, 40, "<8h", *dims(*sizes)), "states a size of", "bad.nii")


@pytest.mark.parametrize("axes", [0, -3, 8, 30000])
def test_a_number_of_axes_that_cannot_be(tmp_path, good, axes):
    refused(tmp_path, header_with(good, 40, "<h", axes), "axes|wrong|missing", "bad.nii")


def test_a_sixth_axis(tmp_path, good):
    refused(tmp_path, header_with(good, 40, "<8h", *dims(10, 10, 10, 1, 1, 8)), "6 axes", "bad.nii")


def test_a_shape_far_beyond_the_limit(tmp_path, good):
    raw = header_with(good, 40, "<8h", *dims(32767, 32767, 32767))
    refused(tmp_path, raw, "more than the limit of 4 GiB; raise limit_gib", "bad.nii")
    refused(tmp_path, gzip.compress(raw), "more than the limit of 4 GiB")
    refused(tmp_path, raw, "more than the limit of 2 GiB", limit_gib=2.0)


def test_a_shape_within_the_limit_that_the_file_cannot_hold(tmp_path, good):
    raw = header_with(good, 40, "<8h", *dims(1000, 1000, 1000))
    refused(tmp_path, raw, "cannot hold them", "bad.nii")
    refused(tmp_path, gzip.compress(raw), "cannot hold them")


@pytest.mark.parametrize("code", [0, 1, 32, 1536, 1792, 2048, 3, 999, -5])
def test_types_that_are_not_read(tmp_path, good, code):
    refused(tmp_path, header_with(good, 70, "<h", code), "type", "bad.nii")


@pytest.mark.parametrize("offset", [np.nan, np.inf, -352.0, 100.0, 352.5])
def test_voxels_that_begin_nowhere(tmp_path, good, offset):
    refused(tmp_path, header_with(good, 108, "<f", offset), "begin at byte", "bad.nii")


@pytest.mark.parametrize("slope, intercept", [(np.inf, 0.0), (1.0, np.nan), (2.0, -np.inf)])
def test_scaling_that_gives_no_number(tmp_path, good, slope, intercept):
    refused(tmp_path, header_with(good, 112, "<2f", slope, intercept), "scaled by", "bad.nii")


@pytest.mark.parametrize("row", [(0.0, 0, 0, 0), (np.nan, 0, 0, 0), (np.inf, 0, 0, 1), (0, 2, 0, 5)])
def test_an_affine_that_places_nothing(tmp_path, good, row):
    refused(tmp_path, header_with(good, 280, "<4f", *row), "affine", "bad.nii")


@pytest.mark.parametrize("size", [0.0, -2.0, np.nan, np.inf])
def test_voxel_sizes_where_no_sform_is_coded(tmp_path, good, size):
    for codes in [(0, 0), (1, 0)]:  # qform_code, sform_code
        raw = bytearray(header_with(good, 80, "<f", size))
        struct.pack_into("<2h", raw, 252, *codes)
        refused(tmp_path, bytes(raw), "voxel size is", "bad.nii")


def test_a_unit_of_length_that_is_none(tmp_path, good):
    refused(tmp_path, header_with(good, 123, "<B", 5), "unit 5", "bad.nii")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(tmp_path, bad, dtype):
    voxels = np.ones((8, 8, 8), dtype)
    voxels[0, 0, 0] = bad
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "bad.nii")
    refused(tmp_path, (tmp_path / "bad.nii").read_bytes(), "1 voxels are NaN or infinite.*nan: zero", "bad.nii")
    image = read_image(tmp_path / "bad.nii", nan="zero")
    assert image.voxels[0, 0, 0] == 0 and image.voxels.sum() == 511
    assert image.repairs == ("1 NaN or infinite voxels set to 0",)


def test_a_float64_too_large_for_float32(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 1e300), AFFINE), tmp_path / "bad.nii")
    refused(tmp_path, (tmp_path / "bad.nii").read_bytes(), "NaN or infinite", "bad.nii")


@pytest.mark.parametrize("codes, is_read", [((1, 1), True), ((1, 0), False)])
def test_a_quaternion_that_is_none(tmp_path, good, codes, is_read):
    raw = bytearray(header_with(good, 252, "<2h", *codes))  # qform_code, sform_code
    struct.pack_into("<3f", raw, 256, 0.9, 0.9, 0.9)
    if is_read:
        (tmp_path / "a.nii").write_bytes(raw)
        assert "the qform is coded and invalid; the sform is used" in read_image(tmp_path / "a.nii").repairs
    else:
        refused(tmp_path, bytes(raw), "header is wrong", "bad.nii")


@pytest.mark.parametrize("name", ["a.nii", "b.nii", "a.nrrd", "a.mha", "z.mha"])
def test_a_header_hit_anywhere_is_read_or_refused_and_never_crashes(tmp_path, name):
    r = np.random.default_rng(0)
    voxels = r.integers(-100, 100, (6, 7, 8)).astype(np.int16)
    if name.endswith(".nii"):
        kind = nibabel.Nifti1Image if name == "a.nii" else nibabel.Nifti2Image
        nibabel.save(kind(voxels, AFFINE), tmp_path / name)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / name), useCompression=name == "z.mha")
    whole = (tmp_path / name).read_bytes()
    for _ in range(400):
        data = bytearray(whole)
        for at in r.integers(0, min(len(data), 560), r.integers(1, 4)):
            data[at] = r.choice([0, 127, 128, 255, int(r.integers(256))])
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(UnreadableImage):
            assert np.isfinite(read_image(tmp_path / name, limit_gib=0.1).affine).all()


def test_the_name_asked_for_is_the_file_opened(tmp_path, good):
    """SimpleITK opens x.nii where x.nii.gz is asked for and absent."""
    (tmp_path / "x.nii").write_bytes(gzip.decompress(good))
    with pytest.raises(UnreadableImage, match="no such file"):
        read_image(tmp_path / "x.nii.gz")


def test_an_analyze_header_is_no_nifti(tmp_path, good):
    raw = bytearray(gzip.decompress(good))
    raw[344:348] = bytes(4)
    refused(tmp_path, bytes(raw), "not an image", "bad.hdr")


def within(gib: float, code: str, folder: Path) -> str:
    """The output of a program whose address space is held to so much memory."""
    program = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({int(gib * 2**30)},) * 2)\n{code}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


READ = """
import resource, sys
from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1] if len(sys.argv) > 1 else "bomb", limit_gib={limit})
except UnreadableImage as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(error, "| grown by", grown // 1024, "MiB |", grown < {most} * 1024)
"""


def test_a_gzip_bomb_takes_no_memory(tmp_path, good):
    """1.5 GB of zeros in 1.5 MB: as a header's voxels beyond the limit, and behind a small header's voxels."""
    bomb = gzip.compress(bytes(1 << 26)) * 24  # members of one stream
    (tmp_path / "bomb").write_bytes(good + bomb)
    out = within(2, READ.format(limit=4.0, most=100), tmp_path)
    assert "continues after the voxels" in out and out.rstrip().endswith("True")
    claimed = gzip.compress(header_with(good, 40, "<8h", *dims(1000, 1000, 800))[:352])
    (tmp_path / "bomb").write_bytes(claimed + bomb)  # two gzip members are one stream
    out = within(2, READ.format(limit=0.5, most=100), tmp_path)
    assert "more than the limit of 0.5 GiB" in out and out.rstrip().endswith("True")


def test_a_huge_header_takes_no_memory(tmp_path, good):
    (tmp_path / "bomb").write_bytes(header_with(good, 40, "<8h", *dims(32767, 32767, 32767))[:352])
    out = within(2, READ.format(limit=4.0, most=100), tmp_path)
    assert "takes 65,530.0 GiB to decode, more than the limit of 4 GiB" in out
    assert out.rstrip().endswith("True")
