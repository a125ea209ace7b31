"""Pictures against Pillow and SimpleITK: pixels as stored, 16 bits kept, every policy, nothing damaged passes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as pillow
from PIL import ImageOps

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image


def real_files(root: Path, pattern: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in the shared data")
    return found


def pixels_of(path: Path, **options) -> np.ndarray:
    """(row, column[, channel]) as a picture is usually held."""
    voxels = read_image(path, **options).voxels[:, :, 0]
    return voxels.swapaxes(0, 1)


def smooth(shape=(40, 60)) -> np.ndarray:
    y, x = np.indices(shape[:2])
    grey = (2 * x + 3 * y) % 251
    return (grey if len(shape) == 2 else np.stack([(grey + 40 * c) % 251 for c in range(shape[2])], -1)).astype(
        np.uint8
    )


def encoded(picture: pillow.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def png(header: tuple[int, int, int, int], rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand: (width, height, bits, colour type), filtered rows, further chunks before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    body = b"".join(chunk(kind, data) for kind, data in more) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def refused(tmp_path: Path, data: bytes, match: str | None = None, name: str = "bad.png", **options) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableImage, match=match) as caught:
        read_image(tmp_path / name, **options)
    assert name in str(caught.value)


@pytest.mark.parametrize("pattern", ["nuclei/images/*", "nuclei/labels/*", "nih_cxr_256/**/*.png", "vqa_rad/**/*.jpg"])
def test_real_pictures_equal_pillow(pattern, shared_data):
    for path in real_files(shared_data, pattern)[:25]:
        image = read_image(path)
        with pillow.open(path) as other:
            theirs = np.asarray(ImageOps.exif_transpose(other))
        if theirs.ndim == 3 and theirs.shape[2] == 4:
            assert (theirs[..., 3] == 255).all()
            theirs = theirs[..., :3]
        assert np.array_equal(pixels_of(path), theirs)
        assert image.spacing_mm is None and image.orientation == "LPS" and not image.is_volume
        assert image.unit == ("RGB" if theirs.ndim == 3 else "arbitrary")


def test_instance_maps_keep_their_type(shared_data):
    for path in real_files(shared_data, "nuclei/labels/*")[:20]:
        image = read_image(path, label=True)
        assert image.unit == "label" and image.voxels.dtype == np.uint16


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_is_not_cut_to_8(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (11, 17, channels)).astype(np.uint16)
    picture = sitk.GetImageFromArray(values if channels > 1 else values[..., 0], isVector=channels > 1)
    sitk.WriteImage(picture, str(tmp_path / "a.png"))
    ours = pixels_of(tmp_path / "a.png")
    assert ours.dtype == np.uint16
    assert np.array_equal(ours, values if channels > 1 else values[..., 0])


def filtered(rows: np.ndarray, step: int) -> bytes:
    """Rows of bytes under PNG filters 0 to 4 in turn, one byte after the other: W3C PNG, 9.2."""
    out, above = bytearray(), bytes(rows.shape[1])
    for n, row in enumerate(row.tobytes() for row in rows):
        kind = n % 5
        out.append(kind)
        for x, value in enumerate(row):
            left, up, corner = (row[x - step] if x >= step else 0), above[x], (above[x - step] if x >= step else 0)
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda v: abs(guess - v))
            out.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
        above = row
    return bytes(out)


@pytest.mark.parametrize("colour, channels", [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_and_alpha_under_every_filter(tmp_path, colour, channels):
    values = np.random.default_rng(0).integers(0, 65536, (13, 9, channels)).astype(">u2")
    if channels != 3:
        values[..., -1] = 65535
    rows = values.view(np.uint8).reshape(13, -1)
    (tmp_path / "a.png").write_bytes(png((9, 13, 16, colour), filtered(rows, 2 * channels)))
    ours = pixels_of(tmp_path / "a.png")
    assert ours.dtype == np.uint16
    assert np.array_equal(ours, values[..., 0] if channels == 2 else values[..., :3])
    refused(tmp_path, png((9, 13, 16, colour), filtered(rows, 2 * channels)[:-3]), "damaged")
    if channels != 3:
        values[2, 3, -1] = 0
        refused(tmp_path, png((9, 13, 16, colour), filtered(rows, 2 * channels)), "transparent")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_as_pillow_applies_it(tmp_path, turn, form):
    exif = pillow.Exif()
    exif[0x0112] = turn
    path = tmp_path / "a"
    path.write_bytes(encoded(pillow.fromarray(smooth((40, 60, 3))), form, exif=exif))
    with pillow.open(path) as other:
        assert np.array_equal(pixels_of(path), np.asarray(ImageOps.exif_transpose(other)))
    assert read_image(path).repairs == (() if turn == 1 else (f"EXIF orientation {turn} applied",))


def test_a_palette_is_colour_or_indices(tmp_path):
    indices = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(np.uint8)
    picture = pillow.fromarray(indices, "P")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [9, 8, 7]], np.uint8)
    picture.putpalette(colours.tobytes())
    (tmp_path / "a.png").write_bytes(encoded(picture, "PNG"))
    assert np.array_equal(pixels_of(tmp_path / "a.png"), colours[indices])
    assert np.array_equal(pixels_of(tmp_path / "a.png", label=True), indices)


def test_alpha(tmp_path):
    colour = np.dstack([smooth((40, 60, 3)), np.full((40, 60), 255, np.uint8)])
    (tmp_path / "a.png").write_bytes(encoded(pillow.fromarray(colour), "PNG"))
    assert np.array_equal(pixels_of(tmp_path / "a.png"), colour[..., :3])
    colour[0, 0, 3] = 254
    refused(tmp_path, encoded(pillow.fromarray(colour), "PNG"), "transparent")
    keyed = pillow.fromarray(smooth())
    refused(tmp_path, encoded(keyed, "PNG", transparency=int(smooth()[3, 3])), "transparent")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(tmp_path, bits):
    """Grey of few bits is spread over 0 to 255 as a picture, and stays what it is as a label map."""
    levels = np.random.default_rng(0).integers(0, 2**bits, (6, 16)).astype(np.uint8)
    packed = np.packbits(((levels[..., None] >> np.arange(bits)[::-1]) & 1).reshape(6, -1), axis=1)
    (tmp_path / "a.png").write_bytes(png((16, 6, bits, 0), b"".join(b"\0" + row.tobytes() for row in packed)))
    assert np.array_equal(pixels_of(tmp_path / "a.png", label=True), levels)
    image = read_image(tmp_path / "a.png")
    low, high = image.header["value_range"]
    assert np.allclose((pixels_of(tmp_path / "a.png") - low) / (high - low), levels / (2**bits - 1))


def test_cmyk_is_converted_and_recorded(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(pillow.fromarray(smooth((40, 60, 3))).convert("CMYK"), "JPEG", quality=100))
    image = read_image(path)
    assert image.unit == "RGB" and "CMYK" in image.repairs[0]
    assert np.abs(pixels_of(path).astype(int) - smooth((40, 60, 3))).mean() < 8


@pytest.mark.parametrize("form", ["BMP", "GIF"])
def test_other_formats(tmp_path, form):
    (tmp_path / "a").write_bytes(encoded(pillow.fromarray(smooth()), form))
    ours = pixels_of(tmp_path / "a")
    assert np.array_equal(ours if ours.ndim == 2 else ours[..., 0], smooth())


def test_a_moving_picture_is_refused(tmp_path):
    frames = [pillow.fromarray(smooth() // n) for n in (1, 2)]
    refused(tmp_path, encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "2 frames")


def test_the_name_does_not_matter(tmp_path):
    (tmp_path / "a.dcm").write_bytes(encoded(pillow.fromarray(smooth()), "PNG"))
    assert np.array_equal(pixels_of(tmp_path / "a.dcm"), smooth())


def test_one_channel_of_colour(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(pillow.fromarray(smooth((40, 60, 3))), "PNG"))
    image = read_image(tmp_path / "a.png", channel=1)
    assert image.unit == "arbitrary" and np.array_equal(image.voxels[:, :, 0].T, smooth((40, 60, 3))[..., 1])
    with pytest.raises(UnreadableImage, match="channel 3"):
        read_image(tmp_path / "a.png", channel=3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF"])
def test_every_cut_is_refused(tmp_path, form):
    data = encoded(pillow.fromarray(smooth((40, 60, 3))), form)
    for length in [4, 20, 40, len(data) // 3, len(data) // 2, len(data) - 60, len(data) - 13, len(data) - 1]:
        if form == "GIF" and length == len(data) - 1:
            continue  # the trailer alone: every pixel is there
        refused(tmp_path, data[:length])


def test_a_progressive_jpeg_cut_between_its_scans(tmp_path):
    data = encoded(pillow.fromarray(smooth()), "JPEG", progressive=True)
    for at in [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]:
        refused(tmp_path, data[:at])


def test_a_damaged_png_never_passes(tmp_path):
    data = encoded(pillow.fromarray(smooth()), "PNG")
    for at in range(8, len(data), 7):
        broken = bytearray(data)
        broken[at] ^= 0x10
        refused(tmp_path, bytes(broken))


def test_png_bombs(tmp_path):
    refused(tmp_path, png((60_000, 80_000, 8, 0), bytes(1000)), "more than the limit of 4 GiB")
    refused(tmp_path, png((60_000, 60_000, 16, 6), bytes(1000)), "more than the limit of 4 GiB")
    refused(tmp_path, png((5_000, 5_000, 8, 0), bytes(1000)), "limit of 0.01 GiB", limit_gib=0.01)
    refused(tmp_path, png((0, 5, 8, 0), bytes(10)))
    refused(tmp_path, png((50, 50, 8, 0), bytes(1000)))  # fewer rows than announced


def test_larger_than_pillows_own_limit_is_read(tmp_path):
    """Pillow.open refuses 179 million pixels; here the limit that the caller states decides."""
    row = b"\0" + bytes(14_000 // 8)
    (tmp_path / "a.png").write_bytes(png((14_000, 14_000, 1, 0), row * 14_000))
    assert read_image(tmp_path / "a.png").shape_vox == (14_000, 14_000, 1)
