"""TIFF pictures and stacks through tifffile, with Pillow for the codecs that tifffile leaves to another library.

Policies: pages of equal size and type become slices; of unequal ones `page` picks one. Of a pyramid the finest level is
read. Samples with a minimum that is white are inverted once, as MONOCHROME1 is. A palette becomes colour, or its
indices in a label map. Resolution tags are printing resolutions and are not trusted: no spacing.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile
from PIL import TiffImagePlugin

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import PIXEL_AFFINE, Image
from medvfm.io.formats import bounded_read, decoder_messages
from medvfm.io.formats.raster import pixel_image, turned, without_alpha

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its remarks on odd tags are for no screen
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRIC = {0: "MINISWHITE", 1: "MINISBLACK", 2: "RGB", 3: "PALETTE", 5: "CMYK", 6: "YCBCR"}
_PILLOW_DECODES = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I;16B", "F")


def is_tiff(head: bytes) -> bool:
    """By the first four bytes: classic or Big TIFF, either byte order."""
    return head[:4] in _MAGIC


def read_tiff(path: str | Path, *, limit_gib: float = 4.0, page: int | None = None, label: bool = False) -> Image:
    """A picture (column, row, 1[, 3]) or a stack of equal pages (column, row, page[, 3]); numbers as stored."""
    path = Path(path)
    repairs: list[str] = []
    try:
        with decoder_messages.held_back(), tifffile.TiffFile(path) as tiff:
            pages = _chosen(tiff, page, path)
            first = pages[0]
            held = 2 if len(pages) > 1 else 1  # pages, and the stack of them
            bounded_read.refuse_larger(held * len(pages) * first.size * _itemsize(first), limit_gib, path)
            planes = [_pixels(one, label, repairs, path) for one in pages]
            bits = first.bitspersample
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise whatever a damaged file makes them trip over
        raise UnreadableImage(f"damaged or unsupported TIFF ({error})", where=path) from error
    image = pixel_image(planes[0], "tiff", sorted(set(repairs)), bits=bits)
    if len(planes) == 1:
        return image
    stack = np.stack([p.swapaxes(0, 1) for p in planes], axis=2)
    return Image(stack, PIXEL_AFFINE, image.unit, has_spacing=False, repairs=image.repairs, header=image.header)


def read_size(path: Path) -> tuple[int, int, int]:
    """(columns, rows, pages) of a TIFF whose pages agree; no pixel is decoded."""
    with tifffile.TiffFile(path) as tiff:
        pages = _chosen(tiff, None, path)
        for page in pages:
            _check_extents(page, path)
        tag = pages[0].tags.get(274)
        rows, columns = pages[0].imagelength, pages[0].imagewidth
        turned = tag is not None and 5 <= int(tag.value) <= 8
    return (rows, columns, len(pages)) if turned else (columns, rows, len(pages))


def orientation(path: Path) -> int:
    """The orientation that the first page states, 1 where it states none; no pixel is decoded."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].aspage().tags.get(274)
    turn = 1 if tag is None else int(tag.value)
    return turn if 1 <= turn <= 8 else 1


def _chosen(tiff: tifffile.TiffFile, page: int | None, path: Path) -> list[tifffile.TiffPage]:
    pages = [p.aspage() for p in tiff.pages]
    if not pages:
        raise UnreadableImage("a TIFF without a page", where=path)
    if page is not None:
        if not 0 <= page < len(pages):
            raise UnreadableImage(f"page {page} does not exist: it has 0 to {len(pages) - 1}", where=path)
        return [pages[page]]
    full = [p for p in pages if not p.is_reduced] or pages[:1]
    if any((p.shape, p.dtype, p.photometric) != (full[0].shape, full[0].dtype, full[0].photometric) for p in full[1:]):
        raise UnreadableImage(f"a TIFF of {len(full)} pages that differ", where=path, remedy="say page: N")
    return full


def _pixels(page: tifffile.TiffPage, label: bool, repairs: list[str], path: Path) -> np.ndarray:
    """(row, column) or (row, column, 3) of one page."""
    photometric = _PHOTOMETRIC.get(int(page.photometric))
    if photometric is None or page.dtype is None:
        raise UnreadableImage(f"a TIFF of photometric kind {int(page.photometric)} is not read", where=path)
    _check_extents(page, path)
    if photometric == "MINISWHITE":
        repairs.append("inverted: white was the minimum")
    pixels, photometric = _decoded(page, photometric, path)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if photometric == "PALETTE" and not label:
        pixels = (np.asarray(page.colormap) >> 8).astype(np.uint8)[:, pixels].transpose(1, 2, 0)
    if photometric == "MINISWHITE":
        if pixels.dtype.kind != "u":
            raise UnreadableImage(f"white is its minimum, and its pixels are {pixels.dtype}", where=path)
        pixels = (2**page.bitspersample - 1) - pixels
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        opaque = int(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1
        pixels = without_alpha(pixels, opaque, path)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UnreadableImage(f"a TIFF page of shape {page.shape} is not read", where=path)
    if pixels.dtype.kind not in "iuf" or pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    tag = page.tags.get(274)
    return turned(pixels, int(tag.value) if tag else 1, repairs)


def _check_extents(page: tifffile.TiffPage, path: Path) -> None:
    """Strips and tiles lie inside the file; tifffile fills those that are missing with zeros."""
    size = path.stat().st_size
    extents = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not extents or any(at <= 0 or count <= 0 or at + count > size for at, count in extents):
        raise UnreadableImage("truncated TIFF: some of its strips or tiles are not in the file", where=path)
    stored_bytes = page.size * page.bitspersample // 8
    if int(page.compression) == 1 and sum(count for _, count in extents) < stored_bytes:
        raise UnreadableImage("truncated TIFF: its strips are shorter than its size", where=path)


def _itemsize(page: tifffile.TiffPage) -> int:
    return page.dtype.itemsize if page.dtype is not None else 8


def _decoded(page: tifffile.TiffPage, photometric: str, path: Path) -> tuple[np.ndarray, str]:
    """Pixels, samples last, and what they mean now: Pillow turns YCbCr and CMYK into RGB."""
    if photometric in ("RGB", "MINISBLACK", "MINISWHITE", "PALETTE"):
        try:
            pixels = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
        else:
            if pixels.ndim == 3 and int(page.planarconfig) == 2:
                pixels = np.moveaxis(pixels, 0, -1)
            return pixels, photometric
    with TiffImagePlugin.TiffImageFile(path) as picture:
        picture.seek(page.index)
        picture.load()
        mode = picture.mode
        if photometric == "CMYK" or (mode not in _PILLOW_DECODES):
            packing = getattr(page.compression, "name", page.compression)
            what = f"compression {packing} of {photometric} pixels needs another decoder"
            raise UnreadableImage(what, where=path, remedy="install imagecodecs, or save it uncompressed")
        pixels = np.asarray(picture)
    # Pillow has inverted grey whose minimum is white and upset nothing else
    return pixels, "MINISBLACK" if photometric == "MINISWHITE" and mode in ("1", "L") else photometric
