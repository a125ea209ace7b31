"""TIFF against what was written, with tifffile and Pillow as the writers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as pillow

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image


def noise(shape=(20, 30), dtype="uint16", seed: int = 0) -> np.ndarray:
    r = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return r.normal(size=shape).astype(dtype)
    return r.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def pixels_of(path: Path, **options) -> np.ndarray:
    return read_image(path, **options).voxels[:, :, 0].swapaxes(0, 1)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        *((dtype, {}) for dtype in ("uint8", "uint16", "int16", "uint32", "float32", "float64")),
        *((dtype, {"byteorder": ">"}) for dtype in ("uint16", "uint32", "float64")),
        *(("int16", options) for options in ({"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)})),
    ],
)
def test_grey(tmp_path, dtype, options):
    values = noise(dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    image = read_image(tmp_path / "a.tif")
    assert image.voxels.dtype.itemsize == min(4, values.dtype.itemsize) and image.spacing_mm is None
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), values.astype(image.voxels.dtype))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour(tmp_path, dtype, planar):
    values = noise((20, 30, 3), dtype)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    image = read_image(tmp_path / "a.tif")
    assert image.unit == ("RGB" if dtype == "uint8" else "arbitrary") and image.voxels.dtype == dtype
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "packbits"])
def test_codecs_that_pillow_has(tmp_path, compression):
    y, x = np.indices((40, 60))
    values = np.dstack([x, y, x + y]).astype(np.uint8) * 2
    pillow.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    assert np.abs(pixels_of(tmp_path / "a.tif").astype(int) - values).mean() < (4 if compression == "jpeg" else 1e-9)


def test_lzw_keeps_16_bits(tmp_path):
    values = noise()
    pillow.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), values)


def test_equal_pages_are_slices_and_unequal_ones_need_a_page(tmp_path):
    stack = noise((5, 20, 30))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "a.tif").voxels, stack.transpose(2, 1, 0))
    assert np.array_equal(pixels_of(tmp_path / "a.tif", page=3), stack[3])
    with tifffile.TiffWriter(tmp_path / "b.tif") as out:
        out.write(stack[0])
        out.write(stack[1, :10])
    with pytest.raises(UnreadableImage, match="2 pages that differ; say page: N"):
        read_image(tmp_path / "b.tif")
    assert np.array_equal(pixels_of(tmp_path / "b.tif", page=1), stack[1, :10])
    with pytest.raises(UnreadableImage, match="page 2 does not exist"):
        read_image(tmp_path / "b.tif", page=2)


def test_the_finest_level_of_a_pyramid(tmp_path):
    values = noise((64, 64))
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        out.write(values, tile=(32, 32), photometric="minisblack")
        out.write(values[::2, ::2], tile=(32, 32), subfiletype=1, photometric="minisblack")
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), values)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_white_minimum_is_inverted_once(tmp_path, compression):
    values = noise(dtype="uint8")
    if compression is None:
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    else:
        pillow.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 0})
        with tifffile.TiffFile(tmp_path / "a.tif") as made:
            assert int(made.pages[0].photometric) == 0
    with pillow.open(tmp_path / "a.tif") as other:
        assert np.array_equal(pixels_of(tmp_path / "a.tif"), np.asarray(other))
    assert read_image(tmp_path / "a.tif").repairs == ("inverted: white was the minimum",)


def test_a_palette_and_one_bit(tmp_path):
    indices = noise(dtype="uint8") % 5
    picture = pillow.fromarray(indices, "P")
    picture.putpalette(np.arange(15, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "a.tif")
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), np.arange(15).reshape(5, 3)[indices])
    assert np.array_equal(pixels_of(tmp_path / "a.tif", label=True), indices)
    pillow.fromarray(indices > 2).save(tmp_path / "b.tif")
    assert np.array_equal(pixels_of(tmp_path / "b.tif", label=True), indices > 2)


def test_alpha_and_orientation(tmp_path):
    values = noise((20, 30, 4), "uint8")
    values[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), values[..., :3])
    values[2, 2, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(UnreadableImage, match="transparent"):
        read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", values[..., 0], extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(pixels_of(tmp_path / "b.tif"), np.rot90(values[..., 0], -1))


def test_resolution_tags_are_not_trusted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), resolution=(300, 300), resolutionunit="CENTIMETER")
    assert read_image(tmp_path / "a.tif").spacing_mm is None


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_every_cut_is_refused(tmp_path, options):
    out = io.BytesIO()
    tifffile.imwrite(out, noise((200, 100)), **options)
    data = out.getvalue()
    for length in [4, 8, 100, len(data) // 4, len(data) // 2, len(data) - 40, len(data) - 1]:
        (tmp_path / "bad.tif").write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"bad\.tif"):
            read_image(tmp_path / "bad.tif")


def test_lzw_and_jpeg_cut_behind_the_directory(tmp_path):
    """Pillow writes the directory first, so that a cut file still has one."""
    for compression in ("tiff_lzw", "jpeg"):
        pillow.fromarray(noise((200, 100, 3), "uint8")).save(tmp_path / "bad.tif", compression=compression)
        data = (tmp_path / "bad.tif").read_bytes()
        for length in [len(data) // 2, len(data) - 500]:
            (tmp_path / "bad.tif").write_bytes(data[:length])
            with pytest.raises(UnreadableImage):
                read_image(tmp_path / "bad.tif")


def test_deflated_strips_that_hold_too_little(tmp_path):
    """A strip whose stream is whole and short: zeros must not be made up."""
    import zlib

    values = noise((20, 30), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as made:
        at, count = made.pages[0].dataoffsets[0], made.pages[0].databytecounts[0]
    short = zlib.compress(values[:10].tobytes(), 0)
    assert len(short) <= count
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[at : at + count] = short.ljust(count, b"\0")
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UnreadableImage):
        read_image(tmp_path / "a.tif")


def test_a_bomb(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3000, 3000), np.uint8), compression="zlib")
    with pytest.raises(UnreadableImage, match=r"limit of 0\.005 GiB"):
        read_image(tmp_path / "a.tif", limit_gib=0.005)


def test_a_tile_that_is_not_there(tmp_path):
    """tifffile makes zeros of a tile at place 0: sparse files look whole."""
    tifffile.imwrite(tmp_path / "a.tif", noise((64, 64)), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as made:
        entries = [made.pages[0].tags[name].valueoffset for name in ("TileOffsets", "TileByteCounts")]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for at in entries:
        data[at : at + 4] = bytes(4)
    (tmp_path / "a.tif").write_bytes(data)
    assert (tifffile.imread(tmp_path / "a.tif")[:32, :32] == 0).all()
    with pytest.raises(UnreadableImage, match="not in the file"):
        read_image(tmp_path / "a.tif")
