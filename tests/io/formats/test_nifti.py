"""NIfTI against nibabel and SimpleITK: same voxel, same millimetre, same numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medvfm.core.errors import UnreadableImage
from medvfm.io.formats.nifti import read_header, read_nifti

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
OBLIQUE = np.array([[0.9, -0.3, 0.4, -31.0], [0.35, 1.1, -0.2, 12.5], [-0.3, 0.25, 2.6, 7.0], [0, 0, 0, 1.0]])


def real_files(root: Path, pattern: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in the shared data")
    return found


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def orthogonal_affine(seed: int = 0, spacing=(0.7, 1.3, 2.9)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) * spacing
    affine[:3, 3] = [-12.0, 33.5, 101.25]
    return affine


def noise(shape=(5, 6, 7), dtype="int16", seed: int = 0) -> np.ndarray:
    r = np.random.default_rng(seed)
    if np.issubdtype(np.dtype(dtype), np.integer):
        info = np.iinfo(dtype)
        return r.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return r.normal(size=shape).astype(dtype)


def saved(path: Path, voxels, affine=None, kind=nibabel.Nifti1Image, **fields) -> Path:
    image = kind(voxels, np.diag([-2.0, 2, 3, 1]) if affine is None else affine, dtype=voxels.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, data: bytes) -> Path:
    """Bytes of the header overwritten, in a .nii or a .nii.gz."""
    packed = path.read_bytes()
    raw = bytearray(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    raw[offset : offset + len(data)] = data
    path.write_bytes(gzip.compress(raw) if packed[:2] == b"\x1f\x8b" else bytes(raw))
    return path


def assert_same_as_itk(path: Path) -> None:
    """Every corner and some voxels inside lie where ITK puts them and hold what ITK reads."""
    image, other = read_nifti(path), sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(other)
    r = np.random.default_rng(0)
    inside = [r.integers(0, image.shape_vox) for _ in range(50)]
    corners = [np.array(c) * (np.array(image.shape_vox) - 1) for c in np.ndindex(2, 2, 2)]
    for voxel in inside + corners:
        ours_lps = np.array([-1, -1, 1]) * (image.affine @ [*voxel, 1])[:3]
        theirs_lps = other.TransformIndexToPhysicalPoint([int(v) for v in voxel])
        assert ours_lps == pytest.approx(theirs_lps, abs=1e-3)
        assert float(image.voxels[tuple(voxel)]) == pytest.approx(float(values[tuple(voxel[::-1])]), rel=1e-6)


@pytest.mark.parametrize("pattern", ["hippocampus/*/*_00*.nii.gz", "totalsegmentator_ct/*.nii.gz"])
def test_real_files_equal_nibabel_and_simpleitk(pattern, shared_data):
    for path in real_files(shared_data, pattern)[:10]:
        image, other = read_nifti(path), nibabel.load(path)
        assert np.array_equal(image.voxels, np.asanyarray(other.dataobj))
        assert np.allclose(image.affine, other.affine, atol=1e-6)
        assert image.orientation == "".join(nibabel.aff2axcodes(other.affine))
        assert image.spacing_mm == pytest.approx([float(z) for z in other.header.get_zooms()], rel=1e-4)
        assert_same_as_itk(path)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize(
    ("kind", "name"), [(nibabel.Nifti1Image, "a.nii.gz"), (nibabel.Nifti2Image, "a.nii")], ids=["1 gz", "2"]
)
def test_every_type_and_version(tmp_path, dtype, kind, name):
    voxels = noise(dtype=dtype)
    image = read_nifti(saved(tmp_path / name, voxels, OBLIQUE, kind))
    assert image.voxels.dtype == (dtype if dtype in INTEGERS else np.float32)
    assert np.array_equal(image.voxels, voxels.astype(image.voxels.dtype))
    assert image.affine == pytest.approx(OBLIQUE, abs=1e-5)
    assert image.voxels.flags.writeable and image.unit == "arbitrary" and image.repairs == ()


@pytest.mark.parametrize("dtype", ["int16", "uint32", "float32", "float64"])
def test_the_other_byte_order(tmp_path, dtype):
    voxels = noise(dtype=dtype)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(dtype).newbyteorder(">"))
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE, header), tmp_path / "a.nii.gz")
    image = read_nifti(tmp_path / "a.nii.gz")
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:4] == b"\x00\x00\x01\x5c"  # big-endian indeed
    assert image.voxels.dtype.isnative
    assert np.array_equal(image.voxels, voxels.astype(image.voxels.dtype))


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz")])
def test_pairs(tmp_path, names):
    voxels = noise()
    nibabel.save(nibabel.Nifti1Pair(voxels, OBLIQUE), tmp_path / names[1])
    assert np.array_equal(read_nifti(tmp_path / names[0]).voxels, voxels)
    (tmp_path / names[1]).unlink()
    with pytest.raises(UnreadableImage, match="not beside it"):
        read_nifti(tmp_path / names[0])


@pytest.mark.parametrize("seed", range(6))
def test_oblique_grids_lie_where_simpleitk_puts_them(tmp_path, seed):
    assert_same_as_itk(saved(tmp_path / "a.nii.gz", noise(seed=seed), orthogonal_affine(seed)))


@pytest.mark.parametrize("seed", range(4))
def test_qform_alone(tmp_path, seed):
    affine = orthogonal_affine(seed)
    if seed % 2:
        affine[:, 2] *= -1  # qfac -1
    image = nibabel.Nifti1Image(noise(), None)
    image.header.set_qform(affine, code=1)
    image.header.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    ours = read_nifti(tmp_path / "a.nii")
    assert ours.affine == pytest.approx(affine, abs=1e-4)
    assert ours.header["transform"] == "qform"
    assert_same_as_itk(tmp_path / "a.nii")


def test_sform_goes_first_and_a_disagreement_is_recorded(tmp_path):
    image = nibabel.Nifti1Image(noise(), None)
    image.header.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    image.header.set_sform(np.diag([-2.0, 2, 2, 1]), code=2)
    nibabel.save(image, tmp_path / "a.nii")
    ours = read_nifti(tmp_path / "a.nii")
    assert np.allclose(ours.affine, nibabel.load(tmp_path / "a.nii").affine)
    assert ours.orientation == "LAS" and "sform and qform" in ours.repairs[0] and "16 mm" in ours.repairs[0]


@pytest.mark.parametrize("size, is_noted", [(2.0, False), (2.01, False), (1.0, True), (0.0, True)])
def test_a_pixdim_that_contradicts_the_sform_is_recorded(tmp_path, size, is_noted):
    path = patched(saved(tmp_path / "a.nii", noise()), 80, np.array([size], "<f4").tobytes())
    ours = read_nifti(path)
    assert ours.spacing_mm == (2, 2, 3)
    assert any("contradicts pixdim" in repair for repair in ours.repairs) == is_noted


def test_neither_coded_is_read_as_nibabel_does_and_flagged(tmp_path):
    path = patched(saved(tmp_path / "a.nii", noise()), 252, bytes(4))
    ours = read_nifti(path)
    assert ours.affine == pytest.approx(nibabel.load(path).affine)
    assert ours.header["transform"] == "none" and "neither sform nor qform" in ours.repairs[0]


@pytest.mark.parametrize("code, unit", [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001)])
def test_units_of_length_become_millimetres(tmp_path, code, unit):
    image = nibabel.Nifti1Image(noise(), np.diag([-0.5, 0.25, 2.0, 1.0]))
    image.header.set_xyzt_units(code)
    nibabel.save(image, tmp_path / "a.nii")
    ours = read_nifti(tmp_path / "a.nii")
    assert ours.spacing_mm == pytest.approx([0.5 * unit, 0.25 * unit, 2.0 * unit])
    assert bool(ours.repairs) == (unit != 1.0)


@pytest.mark.parametrize("slope, intercept", [(2.0, -1024.0), (0.5, 0.0), (1.0, -1024.0), (-1.0, 3.0), (1e-3, 1e3)])
def test_scaled_voxels(tmp_path, slope, intercept):
    path = saved(tmp_path / "a.nii", noise(dtype="int16"))
    patched(path, 112, np.array([slope, intercept], "<f4").tobytes())
    ours, theirs = read_nifti(path), nibabel.load(path).get_fdata()
    assert ours.voxels.dtype == np.float32
    assert ours.voxels == pytest.approx(theirs, rel=1e-6, abs=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("slope", [0.0, 1.0, np.nan])
def test_integers_stay_where_nothing_scales_them(tmp_path, slope):
    path = patched(saved(tmp_path / "a.nii", noise()), 112, np.array([slope, 0], "<f4").tobytes())
    assert read_nifti(path).voxels.dtype == np.int16


def test_four_axes_need_a_decision(tmp_path):
    voxels = noise((3, 4, 5, 6))
    path = saved(tmp_path / "a.nii.gz", voxels)
    with pytest.raises(UnreadableImage, match=r"6 volumes.*time: N"):
        read_nifti(path)
    for t in range(6):
        assert np.array_equal(read_nifti(path, time=t).voxels, voxels[..., t])
        assert np.array_equal(read_nifti(path, channel=t).voxels, voxels[..., t])
    assert np.array_equal(read_nifti(path, channel="all").voxels, voxels)
    for wrong in ({"time": 6}, {"time": -1}, {"channel": 6}, {"time": 0, "channel": 2}):
        with pytest.raises(UnreadableImage, match="does not exist"):
            read_nifti(path, **wrong)


def test_five_axes(tmp_path):
    voxels = noise((3, 4, 5, 2, 3))
    path = saved(tmp_path / "a.nii.gz", voxels)
    assert np.array_equal(read_nifti(path, time=1, channel=2).voxels, voxels[..., 1, 2])
    assert np.array_equal(read_nifti(path, time=1, channel="all").voxels, voxels[..., 1, :])
    for wanting in ({}, {"time": 0}, {"channel": 0}):
        with pytest.raises(UnreadableImage, match="volumes"):
            read_nifti(path, **wanting)
    vectors = saved(tmp_path / "b.nii.gz", voxels[:, :, :, :1])
    assert np.array_equal(read_nifti(vectors, channel="all").voxels, voxels[:, :, :, 0])


def test_axes_of_length_one_need_none(tmp_path):
    assert read_nifti(saved(tmp_path / "a.nii", noise((3, 4, 5, 1, 1)))).voxels.shape == (3, 4, 5)
    assert read_nifti(saved(tmp_path / "b.nii", noise((3, 4)))).voxels.shape == (3, 4, 1)


@pytest.mark.parametrize("names", [("R", "G", "B"), ("R", "G", "B", "A")])
def test_colour_needs_a_decision(tmp_path, names):
    planes = noise((*(3, 4, 5), len(names)), "uint8")
    voxels = planes.view(np.dtype([(n, "u1") for n in names]))[..., 0]
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableImage, match="colour"):
        read_nifti(tmp_path / "a.nii.gz")
    image = read_nifti(tmp_path / "a.nii.gz", channel="all")
    assert image.unit == "RGB" and np.array_equal(image.voxels, planes[..., :3])
    assert any("alpha" in r for r in image.repairs) == (len(names) == 4)
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz", channel=1).voxels, planes[..., 1])


def test_several_gzip_members_are_one_stream(tmp_path):
    """As bgzip and pigz -i write them."""
    path = saved(tmp_path / "a.nii", noise((20, 20, 20)))
    raw = path.read_bytes()
    parts = [gzip.compress(raw[a : a + 3000]) for a in range(0, len(raw), 3000)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(parts))
    assert np.array_equal(read_nifti(tmp_path / "b.nii.gz").voxels, read_nifti(path).voxels)


def test_extensions_are_passed_over(tmp_path):
    image = nibabel.Nifti1Image(noise(), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz").voxels, noise())


def test_the_header_is_read_alone(tmp_path):
    path = saved(tmp_path / "a.nii", noise((3, 4, 5, 6)), OBLIQUE)
    path.write_bytes(path.read_bytes()[:352])
    header = read_header(path)
    assert (header.shape_vox, header.times, header.channels, header.dtype) == ((3, 4, 5), 6, 1, np.int16)
    assert header.affine == pytest.approx(OBLIQUE, abs=1e-5)
