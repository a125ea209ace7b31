"""MetaImage (.mha, .mhd with .raw or .zraw), as ITK writes it: three axes of space in LPS, raw or zlib."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.formats import bounded_read
from medvfm.io.formats.nifti import Channel

_HEADER_MOST = 1 << 16
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_SAME_KEY = {
    "Rotation": "TransformMatrix", "Orientation": "TransformMatrix", "Position": "Offset", "Origin": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def is_metaimage(head: bytes) -> bool:
    """By the first key of the header and the presence of its size."""
    first = head.split(b"=", 1)[0].strip()
    return first in (b"ObjectType", b"NDims", b"Comment") and b"NDims" in head and b"DimSize" in head


def read_metaimage(path: str | Path, *, limit_gib: float = 4.0, channel: Channel = None) -> Image:
    """A volume: voxels (i, j, k), or (i, j, k, channel) where several are kept by `channel="all"`."""
    path = Path(path)
    keys, begins = _header(path)
    shape, channels = _sizes(keys, path)
    dtype = _dtype(keys, path)
    nbytes = math.prod(shape) * channels * dtype.itemsize
    held = nbytes if dtype.isnative and dtype != np.float64 else 2 * nbytes
    bounded_read.refuse_larger(held, limit_gib, path)
    affine = _affine(keys, path)
    stored = _stored(keys, path, begins, nbytes).view(dtype).reshape((channels, *shape), order="F")
    voxels = _picked(np.moveaxis(stored, 0, -1), channel, path)
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize == 8:
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32)
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    return Image(voxels, affine, header={"format": "metaimage"})


def read_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray, int]:
    """(i, j, k), affine and number of channels; no voxel is read."""
    keys, _ = _header(path)
    shape, channels = _sizes(keys, path)
    return tuple(shape), _affine(keys, path), channels


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Keys and values, and the byte at which local data begins: behind the line of ElementDataFile, the last key."""
    with path.open("rb") as file:
        head = file.read(_HEADER_MOST)
    keys: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in keys:
        end = head.find(b"\n", at)
        end = len(head) if end < 0 else end
        name, equals, value = head[at:end].decode("latin-1").partition("=")
        if not equals:
            raise UnreadableImage("its MetaImage header names no ElementDataFile", where=path)
        keys[_SAME_KEY.get(name.strip(), name.strip())] = value.strip()
        at = end + 1
    return keys, at


def _sizes(keys: dict[str, str], path: Path) -> tuple[list[int], int]:
    shape = [int(n) for n in _numbers(keys, "DimSize", path)]
    if keys.get("NDims") != "3" or len(shape) != 3 or min(shape) < 1:
        raise UnreadableImage(f"its size is {keys.get('DimSize')!r}; three axes are read", where=path)
    channels = int(_numbers(keys, "ElementNumberOfChannels", path, "1")[0])
    if channels < 1:
        raise UnreadableImage(f"it states {channels} channels", where=path)
    return shape, channels


def _numbers(keys: dict[str, str], name: str, path: Path, default: str | None = None) -> list[float]:
    words = keys.get(name, default)
    try:
        numbers = [float(word) for word in words.split()] if words else []
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise UnreadableImage(f"its MetaImage header has no valid {name}", where=path)
    return numbers


def _dtype(keys: dict[str, str], path: Path) -> np.dtype:
    stated = keys.get("ElementType", "").removesuffix("_ARRAY")
    if stated not in _TYPES:
        raise UnreadableImage(f"voxels of type {stated!r} are not read", where=path)
    return np.dtype((">" if keys.get("BinaryDataByteOrderMSB", "False").lower() == "true" else "<") + _TYPES[stated])


def _affine(keys: dict[str, str], path: Path) -> np.ndarray:
    sizes = _numbers(keys, "ElementSpacing" if "ElementSpacing" in keys else "ElementSize", path)
    directions = _numbers(keys, "TransformMatrix", path)
    origin = _numbers(keys, "Offset", path)
    if (len(sizes), len(directions), len(origin)) != (3, 9, 3) or min(sizes) <= 0:
        raise UnreadableImage("its spacing, matrix and offset do not place three axes", where=path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(directions, (3, 3)).T * sizes  # MetaIO lists the direction of one axis after the other
    affine[:3, 3] = origin
    return geometry.checked_affine(geometry.LPS_TO_RAS @ affine)


def _stored(keys: dict[str, str], path: Path, begins: int, nbytes: int) -> np.ndarray:
    if keys.get("BinaryData", "True").lower() != "true":
        raise UnreadableImage("its voxels are written as text, which is not read", where=path)
    skipped = int(_numbers(keys, "HeaderSize", path, "0")[0])
    name = keys["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if name.upper().startswith("LIST") or "%" in name or (not local and skipped < 0):
        raise UnreadableImage(
            "its voxels lie in a list of files, or at an unknown place, which is not read", where=path
        )
    if local and skipped > 0:
        raise UnreadableImage("its own voxels begin behind a HeaderSize, which is not read", where=path)
    data_path = path if local else bounded_read.beside(path, name)
    at = begins if local else skipped
    packing = "zlib" if keys.get("CompressedData", "False").lower() == "true" else "raw"
    if packing == "raw":
        bounded_read.refuse_short_file(data_path, at + nbytes, gzipped=False)
    with bounded_read.opened(data_path, at=at, packing=packing) as stream:
        stored = bounded_read.read_array(stream, nbytes, path)
        bounded_read.finish(stream, path)
    return stored


def _picked(voxels: np.ndarray, channel: Channel, path: Path) -> np.ndarray:
    channels = voxels.shape[3]
    if channels == 1 and channel in (None, 0, "all"):
        return voxels[..., 0]
    if channel is None:
        raise UnreadableImage(f"it has {channels} channels", where=path, remedy="say channel: N or all")
    if channel == "all":
        return voxels
    if not 0 <= channel < channels:
        raise UnreadableImage(f"channel {channel} does not exist: it has 0 to {channels - 1}", where=path)
    return voxels[..., channel]
