"""PNG, JPEG, BMP and GIF pictures, with 16 bits kept and every conversion recorded.

Policies: EXIF orientation is applied. An alpha channel is dropped where it is opaque throughout; a picture with
transparent pixels is refused, since its colours there depend on a background that the file does not name. A palette
becomes colour, or the palette's indices in a label map. CMYK becomes RGB. Of several frames none is chosen: refused.
Pixel sizes in these files (pHYs, JFIF density) are printing or screen resolutions and are not trusted: a picture has no
spacing, and its affine counts pixels, columns to the left and rows to posterior, as for DICOM without position.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin
from PIL import Image as pillow

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import PIXEL_AFFINE, Image
from medvfm.io.formats import bounded_read, decoder_messages

# opened by class: Image.open would try every format it knows, and warn or fail by a limit of its own
_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_ORIENTATION_TAG = 0x0112
# held at once for a pixel: what Pillow keeps, what it converts to, and the array
_BYTES_PER_PIXEL = {"1": 2, "L": 2, "P": 9, "LA": 6, "I;16": 4, "RGB": 7, "RGBA": 8, "CMYK": 11}
_DEEP_LANES = {2: 6, 4: 4, 6: 8}  # PNG colour type to the bytes of a 16-bit pixel: RGB, grey with alpha, RGBA


def raster_format(head: bytes) -> str | None:
    """`png`, `jpeg`, `bmp`, `gif`, or None, by the first bytes of the file."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def read_raster(path: str | Path, *, limit_gib: float = 4.0, label: bool = False) -> Image:
    """One picture: voxels (column, row, 1) or (column, row, 1, 3), in the numbers that the file stores.

    label  the picture is a label map: palette indices and grey levels of 1, 2 or 4 bits are taken as they are stored
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})", where=path) from error
    form = raster_format(data[:16])
    if form is None:
        raise UnreadableImage("not a PNG, JPEG, BMP or GIF picture", where=path)
    repairs: list[str] = []
    try:
        _check_complete(data, form, path)
        with decoder_messages.held_back(), _OPENERS[form](io.BytesIO(data)) as picture:
            pixels = _pixels(picture, data, form, limit_gib, label, repairs, path)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise whatever a damaged file makes them trip over
        raise UnreadableImage(f"damaged or unsupported {form.upper()} ({error})", where=path) from error
    return pixel_image(pixels, form, repairs, bits=_bits(data, form))


def read_size(path: Path, form: str) -> tuple[int, int]:
    """(columns, rows) as the picture shows them, EXIF orientation applied; no pixel is decoded."""
    with path.open("rb") as file, _OPENERS[form](file) as picture:  # type: ignore[arg-type]  # any file will do
        columns, rows = picture.size
        turn = int(picture.getexif().get(_ORIENTATION_TAG, 1))
    return (rows, columns) if 5 <= turn <= 8 else (columns, rows)


def orientation(path: Path, form: str) -> int:
    """The EXIF orientation that the file states, 1 where it states none; no pixel is decoded."""
    if form not in _OPENERS:
        return 1
    with path.open("rb") as file, _OPENERS[form](file) as picture:  # type: ignore[arg-type]  # any file will do
        turn = int(picture.getexif().get(_ORIENTATION_TAG, 1))
    return turn if 1 <= turn <= 8 else 1


def pixel_image(pixels: np.ndarray, form: str, repairs: list[str], *, bits: int | None = None) -> Image:
    """An Image of pixels (row, column) or (row, column, 3), without spacing."""
    voxels = pixels.T[:, :, None] if pixels.ndim == 2 else pixels.transpose(1, 0, 2)[:, :, None, :]
    header: dict[str, object] = {"format": form, "photometric": "RGB" if pixels.ndim == 3 else "MONOCHROME2"}
    if pixels.dtype == np.uint8:
        header["value_range"] = (0, 1) if bits == 1 else (0, 255)
    elif pixels.dtype == np.uint16 and pixels.ndim == 3:
        header["value_range"] = (0, 65535)
    unit = "RGB" if pixels.ndim == 3 and pixels.dtype == np.uint8 else "arbitrary"
    return Image(voxels, PIXEL_AFFINE, unit=unit, has_spacing=False, repairs=tuple(repairs), header=header)


def of_pillow(picture: pillow.Image, where: object = None) -> Image:
    """A PIL picture, as `read_raster` would read its file; refused where that would be."""
    if getattr(picture, "n_frames", 1) > 1:
        raise UnreadableImage(f"a moving picture of {picture.n_frames} frames", where=where)  # type: ignore[attr-defined]
    repairs: list[str] = []
    turn = int(picture.getexif().get(_ORIENTATION_TAG, 1))
    pixels = turned(_decoded(picture, None, False, repairs, where), turn, repairs)
    return pixel_image(pixels, (picture.format or "array").lower(), repairs, bits=1 if picture.mode == "1" else None)


def without_alpha(pixels: np.ndarray, opaque: int, where: object) -> np.ndarray:
    """Colour or grey of (row, column, channel) whose last channel is alpha; refused where that is not opaque."""
    if (pixels[..., -1] != opaque).any():
        raise UnreadableImage(
            "some of its pixels are transparent", where=where, remedy="save it on the background that it is meant for"
        )
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :-1]


def _pixels(
    picture: ImageFile.ImageFile,
    data: bytes,
    form: str,
    limit_gib: float,
    label: bool,
    repairs: list[str],
    path: Path,
) -> np.ndarray:
    deep = form == "png" and data[24] == 16 and data[25] != 0  # IHDR: bit depth, colour type; Pillow keeps 8 bits
    width, height = picture.size
    bounded_read.refuse_larger(
        width * height * (24 if deep else _BYTES_PER_PIXEL.get(picture.mode, 12)), limit_gib, path
    )
    if getattr(picture, "n_frames", 1) > 1:
        raise UnreadableImage(f"a moving picture of {picture.n_frames} frames", where=path)  # type: ignore[attr-defined]
    turn = int(picture.getexif().get(_ORIENTATION_TAG, 1))
    if deep:
        return turned(_deep_colour(data, path), turn, repairs)
    picture.load()
    return turned(_decoded(picture, _bits(data, form), label, repairs, path), turn, repairs)


def _decoded(picture: pillow.Image, bits: int | None, label: bool, repairs: list[str], path: object) -> np.ndarray:
    mode = picture.mode
    if label and mode == "P":
        return np.asarray(picture)
    if mode == "1" or (label and mode == "L" and bits in (2, 4)):
        grey = np.asarray(picture).astype(np.uint8)
        return grey if mode == "1" else grey // (255 // (2**bits - 1))  # type: ignore[operator]  # Pillow spread them
    if mode == "P" or "transparency" in picture.info:
        return without_alpha(np.asarray(picture.convert("RGBA")), 255, path)
    if mode in ("LA", "RGBA"):
        return without_alpha(np.asarray(picture), 255, path)
    if mode == "CMYK":
        repairs.append("CMYK converted to RGB without a colour profile")
        return np.asarray(picture.convert("RGB"))
    if mode in ("L", "RGB", "I;16"):
        return np.asarray(picture)
    raise UnreadableImage(f"pixels of mode {mode} are not read", where=path)


def turned(pixels: np.ndarray, turn: int, repairs: list[str]) -> np.ndarray:
    """EXIF orientation applied to (row, column[, channel]): TIFF 6.0, tag 274."""
    if turn in (0, 1) or not 1 <= turn <= 8:
        return pixels
    repairs.append(f"EXIF orientation {turn} applied")
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[turn]
    return pixels[::down, ::right]


def _deep_colour(data: bytes, path: Path) -> np.ndarray:
    """16-bit PNG with colour or alpha: Pillow alone would return the upper 8 bits without a word.

    PNG filters work on each byte of a pixel apart from the others, so that every byte plane is an 8-bit grey PNG with
    the same filter types, which Pillow can decode.
    """
    width, height, _, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if interlaced:
        raise UnreadableImage("an interlaced 16-bit colour PNG is not read", where=path)
    lanes = _DEEP_LANES[colour]
    filtered = _inflated(data, height * (1 + width * lanes), path).reshape(height, 1 + width * lanes)
    planes = np.empty((height, width, lanes), np.uint8)
    for lane in range(lanes):
        plane = np.concatenate([filtered[:, :1], filtered[:, 1 + lane :: lanes]], axis=1)
        with PngImagePlugin.PngImageFile(io.BytesIO(_grey_png(width, height, plane.tobytes()))) as grey:
            planes[..., lane] = np.asarray(grey)
    pixels = planes.view(">u2").astype(np.uint16)
    return pixels if colour == 2 else without_alpha(pixels, 65535, path)


def _inflated(data: bytes, count: int, path: Path) -> np.ndarray:
    packed = b"".join(body for kind, body in _png_chunks(data) if kind == b"IDAT")
    inflater = zlib.decompressobj()
    rows = inflater.decompress(packed, count)
    if len(rows) != count or inflater.decompress(inflater.unconsumed_tail, 1) or not inflater.eof:
        raise UnreadableImage("damaged PNG: its rows are not of the size announced", where=path)
    return np.frombuffer(rows, np.uint8)


def _grey_png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return _MAGIC[0][0] + head + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def _bits(data: bytes, form: str) -> int | None:
    return data[24] if form == "png" else None


def _check_complete(data: bytes, form: str, path: Path) -> None:
    """Decoders fill what a cut or damaged file lacks with grey; the file's own marks tell."""
    if form == "png":
        _check_png(data, path)
    elif form == "jpeg" and b"\xff\xd9" not in data[data.rfind(b"\xff\xda") :]:
        raise UnreadableImage("truncated JPEG: its end marker is missing", where=path)


def _check_png(data: bytes, path: Path) -> None:
    """The last chunk is there: W3C PNG, 5.6."""
    if not any(kind == b"IEND" for kind, _ in _png_chunks(data, path)):
        raise UnreadableImage("truncated PNG: its end marker is missing", where=path)


def _png_chunks(data: bytes, path: Path | None = None) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each whole chunk, its checksum compared (Pillow leaves those of IDAT unread)."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        if end > len(data):
            return
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise UnreadableImage("damaged PNG: a checksum is wrong", where=path)
        yield data[at + 4 : at + 8], view[at + 8 : end - 4]
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end
