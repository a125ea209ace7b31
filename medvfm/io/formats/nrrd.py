"""NRRD volumes with attached or detached data: raw, gzip or bzip2 (Teem's format definition, NRRD0001 to NRRD0005).

Three axes of space, and at most one more that `channel` or `time` decides on. What the format allows beyond that (text
encodings, lists of data files, spaces without a patient) is refused by name.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.formats import bounded_read
from medvfm.io.formats.nifti import Channel

_MAGIC = b"NRRD000"
_HEADER_MOST = 1 << 20
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_DTYPES = {spelling: name for name, spellings in _TYPES.items() for spelling in spellings}
_PACKING = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_SAME_FIELD = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}


def is_nrrd(head: bytes) -> bool:
    """By the first bytes of the file."""
    return head.startswith(_MAGIC)


def read_nrrd(path: str | Path, *, limit_gib: float = 4.0, channel: Channel = None, time: int | None = None) -> Image:
    """A volume: voxels (i, j, k), or (i, j, k, channel) where a fourth axis is kept by `channel="all"`."""
    path = Path(path)
    fields, begins = _header(path)
    shape = _shape(fields, path)
    affine, spatial, repairs = _affine(fields, shape, path)
    dtype = _dtype(fields, path)
    nbytes = math.prod(shape) * dtype.itemsize
    held = nbytes if dtype.isnative and dtype != np.float64 else 2 * nbytes
    bounded_read.refuse_larger(held, limit_gib, path)
    stored = _stored(fields, path, begins, nbytes).view(dtype).reshape(shape, order="F")
    extra = [axis for axis in range(len(shape)) if axis not in spatial]
    voxels = np.transpose(stored, (*spatial, *extra))
    voxels, is_colour = _channel(voxels, fields, extra, channel, time, path)
    if voxels.dtype == np.float64:
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32)
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    unit = "RGB" if is_colour and voxels.dtype == np.uint8 and voxels.ndim == 4 else "arbitrary"
    return Image(voxels, affine, unit=unit, repairs=repairs, header={"format": "nrrd"})


def read_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray, int, tuple[str, ...]]:
    """(i, j, k), affine, how many volumes share the grid, and what was assumed; no voxel is read."""
    fields, _ = _header(path)
    shape = _shape(fields, path)
    affine, spatial, repairs = _affine(fields, shape, path)
    shape_vox = tuple(shape[axis] for axis in spatial)
    return shape_vox, affine, math.prod(shape) // math.prod(shape_vox), repairs


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields in lower case, and the byte at which attached data begins."""
    with path.open("rb") as file:
        head = file.read(_HEADER_MOST)
    normal = head.find(b"\n\n"), head.find(b"\r\n\r\n")
    ends = [at + length for at, length in zip(normal, (2, 4), strict=True) if at >= 0]
    text = head[: min(ends)] if ends else head
    if not ends and len(head) == _HEADER_MOST:
        raise UnreadableImage("its NRRD header does not end", where=path)
    fields = {}
    for line in text.decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            name = name.strip().lower()
            fields[_SAME_FIELD.get(name, name)] = value.strip()
    return fields, min(ends, default=len(head))


def _field(fields: dict[str, str], name: str, path: Path) -> str:
    if name not in fields:
        raise UnreadableImage(f"its NRRD header has no {name!r}", where=path)
    return fields[name]


def _integers(fields: dict[str, str], name: str, path: Path) -> list[int]:
    try:
        return [int(word) for word in _field(fields, name, path).split()]
    except ValueError as error:
        raise UnreadableImage(f"its {name!r} is no list of whole numbers", where=path) from error


def _shape(fields: dict[str, str], path: Path) -> list[int]:
    shape = _integers(fields, "sizes", path)
    if len(shape) != _integers(fields, "dimension", path)[0] or min(shape, default=0) < 1:
        raise UnreadableImage(f"its sizes are {' x '.join(map(str, shape))}", where=path)
    return shape


def _dtype(fields: dict[str, str], path: Path) -> np.dtype:
    spelling = _field(fields, "type", path).lower()
    if spelling not in _DTYPES:
        raise UnreadableImage(f"voxels of type {spelling!r} are not read", where=path)
    dtype = np.dtype(_DTYPES[spelling])
    if dtype.itemsize == 1:
        return dtype
    order = _field(fields, "endian", path).lower()
    if order not in ("little", "big"):
        raise UnreadableImage(f"its byte order is {order!r}", where=path)
    return dtype.newbyteorder("<" if order == "little" else ">")


def _affine(fields: dict[str, str], shape: list[int], path: Path) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    """Affine to RAS, the axes of space in order, and what was assumed."""
    if "space directions" not in fields:
        return _affine_of_spacings(fields, shape, path)
    space = fields.get("space", "").lower()
    if space not in _TO_RAS:
        raise UnreadableImage(f"its space is {space or 'not stated'!r}, not one of a patient", where=path)
    unit = fields.get("space units", '"mm"').replace('"', "").split()
    if any(word not in ("mm", "millimeter", "millimeters", "millimetre", "millimetres") for word in unit):
        raise UnreadableImage(f"its lengths are in {unit[0]}; millimetres are read", where=path)
    words = fields["space directions"].replace(" ", "").replace(")", ") ").replace("none", "none ").split()
    spatial = [axis for axis, word in enumerate(words) if word != "none"]
    vectors = [_vector(words[axis], path) for axis in spatial]
    if len(spatial) != 3 or len(words) != len(shape):
        raise UnreadableImage(f"it has {len(spatial)} axes of space; 3 are read", where=path)
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(vectors)
    affine[:3, 3] = _vector(_field(fields, "space origin", path).replace(" ", ""), path)
    return geometry.checked_affine(np.diag([*_TO_RAS[space], 1.0]) @ affine), spatial, ()


def _affine_of_spacings(
    fields: dict[str, str], shape: list[int], path: Path
) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    words = fields.get("spacings", "").split()
    kinds = fields.get("kinds", "domain " * len(shape)).lower().split()
    spatial = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space", "???", "none")]
    try:
        sizes = [float(words[axis]) for axis in spatial]
    except (ValueError, IndexError):
        sizes = []
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise UnreadableImage(
            "it states no place in a patient: neither space directions nor three spacings", where=path
        )
    affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    return affine, spatial, ("no orientation is stated: axes assumed to point to left, posterior and superior",)


def _vector(word: str, path: Path) -> list[float]:
    try:
        numbers = [float(number) for number in word.strip("()").split(",")]
    except ValueError as error:
        raise UnreadableImage(f"{word!r} in its header is no vector", where=path) from error
    if len(numbers) != 3:
        raise UnreadableImage(f"its space has {len(numbers)} dimensions; 3 are read", where=path)
    return numbers


def _stored(fields: dict[str, str], path: Path, begins: int, nbytes: int) -> np.ndarray:
    encoding = _field(fields, "encoding", path).lower()
    if encoding not in _PACKING:
        raise UnreadableImage(f"encoding {encoding!r} is not read; raw, gzip and bzip2 are", where=path)
    line_skip, byte_skip = (int(fields.get(name, "0")) for name in ("line skip", "byte skip"))
    if line_skip or byte_skip < 0:
        raise UnreadableImage("line skip, and byte skip below 0, are not read", where=path)
    data_path = bounded_read.beside(path, fields["data file"]) if "data file" in fields else path
    at = 0 if "data file" in fields else begins
    if _PACKING[encoding] == "raw":
        bounded_read.refuse_short_file(data_path, at + byte_skip + nbytes, gzipped=False)
    with bounded_read.opened(data_path, at=at, packing=_PACKING[encoding]) as stream:
        bounded_read.skip(stream, byte_skip, path)
        stored = bounded_read.read_array(stream, nbytes, path)
        bounded_read.finish(stream, path)
    return stored


def _channel(
    voxels: np.ndarray, fields: dict[str, str], extra: list[int], channel: Channel, time: int | None, path: Path
) -> tuple[np.ndarray, bool]:
    if not extra:
        return voxels, False
    if len(extra) > 1:
        raise UnreadableImage(f"it has {voxels.ndim} axes; four can be read", where=path)
    pick = channel if channel is not None else time
    length = voxels.shape[3]
    if pick is None and length > 1:
        raise UnreadableImage(f"it holds {length} volumes", where=path, remedy="say channel: N or all, or time: N")
    kinds = fields.get("kinds", "").lower().split()
    is_colour = len(kinds) > extra[0] and kinds[extra[0]] == "rgb-color" and length == 3
    if pick == "all":
        return voxels, is_colour
    if not 0 <= int(pick or 0) < length:
        raise UnreadableImage(f"volume {pick} does not exist: it has 0 to {length - 1}", where=path)
    return voxels[..., int(pick or 0)], False
