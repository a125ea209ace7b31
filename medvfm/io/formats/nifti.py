"""NIfTI-1 and NIfTI-2, one file or a pair, plain or gzip: nibabel reads the header, isal inflates the voxels.

The header is read first and its size checked against the limit; then exactly that many bytes are inflated into place,
and the stream is read to its end so that the checksum counts. Integers stay integers where nothing scales them; all
else is float32. sform goes before qform, as in nibabel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.formats import bounded_read
from medvfm.io.formats.voxel_values import finite

Channel = int | Literal["all"] | None

# magic and its place: NIfTI-1 standard (nifti1.h) and NIfTI-2 (nifti2.h)
_MAGIC = {
    (344, b"n+1\0"): Nifti1Header,
    (344, b"ni1\0"): Nifti1PairHeader,
    (4, b"n+2\0"): Nifti2Header,
    (4, b"ni2\0"): Nifti2PairHeader,
}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown, metre, millimetre, micrometre
_UNIT_NAMES = {0: "not stated, read as mm", 1: "metres", 2: "mm", 3: "micrometres"}
_HEAD_BYTES = 540  # the NIfTI-2 header; NIfTI-1 has 348


@dataclass(frozen=True)
class NiftiHeader:
    """The checked header of a NIfTI file; no voxel has been read.

    shape_vox (i, j, k); times and channels are the lengths of the fourth and fifth axis, 1 where there is none.
    """

    path: Path
    data_path: Path
    shape_vox: tuple[int, int, int]
    times: int
    channels: int
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    affine: np.ndarray
    transform: str
    length_unit: str
    repairs: tuple[str, ...]

    @property
    def is_colour(self) -> bool:
        """RGB24 and RGBA32: each voxel holds a structure."""
        return self.dtype.names is not None

    @property
    def is_scaled(self) -> bool:
        """True where stored numbers are not the values."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def is_nifti(head: bytes) -> bool:
    """By the first 348 bytes of the (inflated) file."""
    return any(head[at : at + 4] == magic for at, magic in _MAGIC)


def read_header(path: str | Path) -> NiftiHeader:
    """Size, type and geometry of a NIfTI file, without its voxels."""
    path = Path(path)
    with bounded_read.opened(path) as stream:
        head = bounded_read.read_up_to(stream, _HEAD_BYTES)
    kind = next((cls for (at, magic), cls in _MAGIC.items() if head[at : at + 4] == magic), None)
    if kind is None or len(head) < kind.sizeof_hdr:
        raise UnreadableImage("not a NIfTI file: the header is missing or cut", where=path)
    try:
        header = kind(head[: kind.sizeof_hdr], check=False)
        return _checked(header, path)
    except (HeaderDataError, ValueError) as error:  # nibabel raises either for a quaternion that is none
        raise UnreadableImage(f"its NIfTI header is wrong: {error}", where=path) from error


def read_nifti(
    path: str | Path, *, limit_gib: float = 4.0, channel: Channel = None, time: int | None = None, nan: str = "refuse"
) -> Image:
    """One volume of a NIfTI file.

    A fourth axis needs a decision, and colour does too: `time` picks one point of it, `channel` picks one channel, and
    `channel="all"` keeps them: voxels (i, j, k, channel). Without either, more than one volume is refused.
    """
    header = read_header(path)
    volumes, keep_axis = _volumes(header, channel, time)
    count = math.prod(header.shape_vox) * len(volumes)
    converted = 4 if header.is_scaled or (header.dtype.kind == "f" and header.dtype.itemsize != 4) else 0
    bounded_read.refuse_larger(count * (header.dtype.itemsize + converted), limit_gib, path)
    raw, surplus = _stored(header, volumes)
    repairs = header.repairs + ((f"{surplus} bytes behind the voxels ignored",) if surplus else ())
    if header.is_colour:
        voxels, unit = _colour(raw, channel)
        repairs += ("alpha ignored",) if header.dtype.itemsize == 4 else ()
    else:
        voxels, unit = _values(raw, header), "arbitrary"
        voxels = voxels if keep_axis else voxels[..., 0]
    voxels, mended = finite(voxels, nan, path)
    facts = {"format": "nifti", "transform": header.transform, "length_unit": header.length_unit}
    return Image(voxels, header.affine, unit=unit, repairs=repairs + mended, header=facts)


def _checked(header: Nifti1Header, path: Path) -> NiftiHeader:
    shape_vox, times, channels = _sizes(header, path)
    repairs: list[str] = []
    slope, intercept = _scaling(header, path)
    affine, transform = _affine(header, path, repairs)
    return NiftiHeader(
        path=path,
        data_path=path if header.is_single else _other_half(path),
        shape_vox=shape_vox,
        times=times,
        channels=channels,
        dtype=_dtype(header, path, repairs),
        offset=_offset(header, path),
        slope=slope,
        intercept=intercept,
        affine=affine,
        transform=transform,
        length_unit=_UNIT_NAMES[int(header["xyzt_units"]) & 7],
        repairs=tuple(repairs),
    )


def _sizes(header: Nifti1Header, path: Path) -> tuple[tuple[int, int, int], int, int]:
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise UnreadableImage(f"its header states {axes} axes; 1 to 7 are possible", where=path)
    stated = [int(n) for n in header["dim"][1 : axes + 1]]
    if min(stated) < 1:
        raise UnreadableImage(f"its header states a size of {' x '.join(map(str, stated))}", where=path)
    i, j, k, times, channels, *more = stated + [1] * (7 - axes)
    if max(more) > 1:
        raise UnreadableImage(f"it has {axes} axes ({' x '.join(map(str, stated))}); 5 can be read", where=path)
    return (i, j, k), times, channels


def _dtype(header: Nifti1Header, path: Path, repairs: list[str]) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise UnreadableImage(f"its data type {int(header['datatype'])} is unknown", where=path) from error
    if dtype.names is None and (dtype.kind not in "iuf" or dtype.itemsize > 8):
        raise UnreadableImage(f"its voxels are of type {dtype}; real numbers of up to 64 bits can be read", where=path)
    if int(header["bitpix"]) != dtype.itemsize * 8:
        repairs.append(f"bitpix {int(header['bitpix'])} contradicts the data type, which is used")
    return dtype


def _offset(header: Nifti1Header, path: Path) -> int:
    stated = float(header["vox_offset"])
    least = header.single_vox_offset if header.is_single else 0
    if not math.isfinite(stated) or stated != int(stated) or (stated != 0 and stated < least) or stated < 0:
        raise UnreadableImage(f"its voxels cannot begin at byte {stated:g}", where=path)
    return max(int(stated), least)


def _scaling(header: Nifti1Header, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 (nifti1.h) or NaN (as nibabel writes) means that nothing scales the voxels."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise UnreadableImage(f"its voxels are scaled by {slope:g} and {intercept:g}", where=path)
    return slope, intercept


def _affine(header: Nifti1Header, path: Path, repairs: list[str]) -> tuple[np.ndarray, str]:
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = 1.0  # nifti1.h: a qfac that is not -1 or 1 counts as 1
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    sizes = np.asarray(pixdim[1:4], dtype=np.float64)
    if not sform and (not np.isfinite(sizes).all() or sizes.min() <= 0):
        what = f"its voxel size is {' x '.join(f'{s:g}' for s in sizes)}, and no sform is coded"
        raise UnreadableImage(what, where=path)
    if sform:
        affine, transform = header.get_sform(), "sform"
    elif qform:
        affine, transform = header.get_qform(), "qform"
    else:
        affine, transform = _base_affine(header, sizes), "none"
        repairs.append(
            "neither sform nor qform is coded: left and right assumed as nibabel does (first axis to the left)"
        )
    mm_per_unit = _mm_per_unit(header, path, repairs)
    try:
        affine = geometry.checked_affine(_in_mm(affine, mm_per_unit))
    except UnreadableImage as error:
        raise UnreadableImage(error.what, where=path, remedy=f"it comes from the {transform} of the header") from error
    if sform:
        _note_disagreements(header, affine, mm_per_unit, repairs, compare_qform=qform)
    return affine, transform


def _in_mm(affine: np.ndarray, mm_per_unit: float) -> np.ndarray:
    return np.vstack([affine[:3] * mm_per_unit, affine[3:]])


def _base_affine(header: Nifti1Header, sizes: np.ndarray) -> np.ndarray:
    """Voxel sizes alone: the first axis to the left and the origin in the middle, nibabel's reading of an old file."""
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    shape = np.ones(3)
    axes = min(int(header["dim"][0]), 3)
    shape[:axes] = header["dim"][1 : axes + 1]
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    return affine


def _note_disagreements(
    header: Nifti1Header, sform: np.ndarray, mm_per_unit: float, repairs: list[str], *, compare_qform: bool
) -> None:
    """Notes where other header fields contradict the sform."""
    sizes_mm = header["pixdim"][1:4] * mm_per_unit
    if not np.allclose(geometry.spacing_mm(sform), sizes_mm, rtol=0.01):
        repairs.append("the voxel size of the sform contradicts pixdim; the sform is used")
    if not compare_qform:
        return
    try:
        qform = geometry.checked_affine(_in_mm(header.get_qform(), mm_per_unit))
    except (HeaderDataError, ValueError, UnreadableImage):
        repairs.append("the qform is coded and invalid; the sform is used")
        return
    i, j, k, *_ = [*(max(1, int(n)) for n in header["dim"][1:4]), 1, 1, 1]
    apart_mm = geometry.greatest_distance_mm(sform, qform, (i, j, k))
    if apart_mm > 0.1 * min(geometry.spacing_mm(sform)):
        repairs.append(f"sform and qform place voxels up to {apart_mm:.3g} mm apart; the sform is used")


def _mm_per_unit(header: Nifti1Header, path: Path, repairs: list[str]) -> float:
    code = int(header["xyzt_units"]) & 7
    if code not in _MM_PER_UNIT:
        raise UnreadableImage(f"its lengths are in unit {code}, which NIfTI does not define", where=path)
    if _MM_PER_UNIT[code] != 1:
        repairs.append(f"lengths converted from {_UNIT_NAMES[code]}")
    return _MM_PER_UNIT[code]


def _other_half(path: Path) -> Path:
    """The .img of a .hdr: the same name beside it, never another."""
    name = path.name.removesuffix(".gz").removesuffix(".hdr")
    for suffix in (".img", ".img.gz"):
        other = path.with_name(name + suffix)
        if other.is_file():
            return other
    raise UnreadableImage(f"the voxels of this header are not beside it ({name}.img)", where=path)


def _volumes(header: NiftiHeader, channel: Channel, time: int | None) -> tuple[list[int], bool]:
    """Which volumes to read, by their order in the file, and whether a channel axis stays."""
    times, channels = header.times, header.channels
    if header.is_colour:
        if channel is None:
            raise UnreadableImage(
                "its voxels are colour (RGB)", where=header.path, remedy="say channel: all, or which one (0, 1, 2)"
            )
        if channels > 1:
            raise UnreadableImage("colour with a fifth axis cannot be read", where=header.path)
        if channel != "all":
            _one_of(channel, 3, "channel", header.path)
        return [_one_of(0 if times == 1 and time is None else time, times, "time", header.path)], False
    if channels == 1 and times > 1 and channel is not None and time is None:
        times, channels = 1, times  # the fourth axis holds channels, as in multi-modal sets of one file
    at = _one_of(0 if times == 1 and time is None else time, times, "time", header.path)
    if channel == "all" and channels > 1:
        return [at + times * c for c in range(channels)], True
    picked = 0 if channels == 1 and channel in (None, "all") else channel
    return [at + times * _one_of(picked, channels, "channel", header.path)], False


def _one_of(index: int | str | None, length: int, name: str, path: Path) -> int:
    if index is None:
        either = "time: N or channel: N or all" if name == "time" else "channel: N or all"
        raise UnreadableImage(
            f"it holds {length} volumes ({name} axis), and one is read", where=path, remedy=f"say {either}"
        )
    if isinstance(index, str) or not 0 <= index < length:
        raise UnreadableImage(f"{name} {index!r} does not exist: it has 0 to {length - 1}", where=path)
    return int(index)


def _stored(header: NiftiHeader, volumes: list[int]) -> tuple[np.ndarray, int]:
    """Stored numbers (i, j, k, volume) in the byte order of this machine; how many bytes followed the last volume."""
    volume_bytes = math.prod(header.shape_vox) * header.dtype.itemsize
    total = header.times * header.channels
    gzipped = bounded_read.is_gzip(header.data_path)
    bounded_read.refuse_short_file(header.data_path, header.offset + total * volume_bytes, gzipped=gzipped)
    step = volumes[1] - volumes[0] if len(volumes) > 1 else 1
    with bounded_read.opened(header.data_path) as stream:
        bounded_read.skip(stream, header.offset + volumes[0] * volume_bytes, header.path)
        if step == 1:
            data = bounded_read.read_array(stream, len(volumes) * volume_bytes, header.path)
        else:
            data = np.empty((len(volumes), volume_bytes), np.uint8)
            for n in range(len(volumes)):
                if n:
                    bounded_read.skip(stream, (step - 1) * volume_bytes, header.path)
                data[n] = bounded_read.read_array(stream, volume_bytes, header.path)
        bounded_read.skip(stream, (total - 1 - volumes[-1]) * volume_bytes, header.path)
        surplus = bounded_read.finish(stream, header.path)
    stored = data.reshape(-1).view(header.dtype)
    if not header.dtype.isnative and header.dtype.names is None:
        stored = stored.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return stored.reshape((*header.shape_vox, len(volumes)), order="F"), surplus


def _values(stored: np.ndarray, header: NiftiHeader) -> np.ndarray:
    if not header.is_scaled:
        if stored.dtype.kind != "f" or stored.dtype.itemsize == 4:
            return stored
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and infinite voxels are refused
            return stored.astype(np.float32)
    out = np.empty(stored.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(stored.shape[3]):
            for k in range(stored.shape[2]):  # slice by slice: float64 for the sum, without a float64 volume
                out[:, :, k, n] = stored[:, :, k, n].astype(np.float64) * header.slope + header.intercept
    return out


def _colour(stored: np.ndarray, channel: Channel) -> tuple[np.ndarray, str]:
    shape = stored.shape[:3]
    depth = stored.dtype.itemsize
    planes = stored.reshape(-1, order="F").view(np.uint8).reshape((depth, *shape), order="F")
    if channel == "all":
        return np.moveaxis(planes[:3], 0, -1), "RGB"
    assert isinstance(channel, int)
    return planes[channel], "arbitrary"
