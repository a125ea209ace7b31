"""One reader for every image format, detected from the content and not from the name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage, nearest
from medvfm.core.image import Image
from medvfm.io.dicom.dictionary import DICOM_SUFFIXES
from medvfm.io.formats import bounded_read, metaimage, nifti, nrrd, raster, tiff, units, zip_archive
from medvfm.io.formats.voxel_values import NAN_RULES, as_label_map, finite

_HEAD_BYTES = 1024
_DICOM = ("dicom", "folder", "zip")
KNOWN = "DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, BMP, GIF, a zip archive of one of these, or a DICOM folder"

_APART_MOST = 0.1  # of a voxel: what rounding in headers explains


@dataclass(frozen=True)
class _Wanted:
    limit_gib: float
    channel: nifti.Channel
    time: int | None
    page: int | None
    series_uid: str | None
    volume: str | int | None
    nan: str
    label: bool
    unit: str | None


def read_image(
    path: str | Path,
    *,
    limit_gib: float = 4.0,
    channel: nifti.Channel = None,
    time: int | None = None,
    page: int | None = None,
    series_uid: str | None = None,
    volume: str | int | None = None,
    nan: str = "refuse",
    label: bool = False,
    values: Collection[int] | None = None,
    unit: str | None = None,
) -> Image:
    """A file, a folder that holds one DICOM series, or a zip archive of either, as an Image; else UnreadableImage.

    limit_gib   the most memory that decoded voxels may take; larger images are refused before it is taken
    channel     of a file with a channel axis or colour voxels (NIfTI, NRRD): which one, or `all` to keep them
    time        of a file with a time axis: which point
    page        of a TIFF whose pages differ: which one; without it, equal pages become slices
    series_uid  of a folder or archive with several DICOM series: which one
    volume      of a DICOM series or file with several volumes (echoes, phases): which one, by its label or its number
                from 1 on
    nan         `refuse`, or `zero` to replace NaN and infinity and record how many
    label       the file is a label map: whole numbers only; `values` names those that may occur
    unit        what a value of 1 means, where the caller knows more than the file (a CT as NIfTI: `HU`). `SUV` of a PET
                in Bq/ml is computed from its header; a unit that the file cannot give is refused
    """
    if not isinstance(path, str | Path):
        given = type(path).__name__
        raise UnreadableImage(
            f"a path is read, not {given}", remedy="medvfm.Image(voxels, affine) makes an image of an array"
        )
    path = Path(path)
    if nan not in NAN_RULES:
        raise UnreadableImage(f"nan={nan!r} is not known; {nearest(nan, NAN_RULES)}", where=path)
    units.check_name(unit, path)
    wanted = _Wanted(limit_gib, channel, time, page, series_uid, volume, nan, label, unit)
    kind = image_kind(path)
    _refuse_unused(path, kind, wanted)
    if kind == "zip":
        with zip_archive.unpacked(path, suffixes=DICOM_SUFFIXES, limit_gib=limit_gib) as inner:
            try:
                image = _read(inner, image_kind(inner), wanted)
            except UnreadableImage as error:
                raise UnreadableImage(f"inside the archive: {error.what}", where=path, remedy=error.remedy) from error
    else:
        try:
            image = _read(path, kind, wanted)
        except UnreadableImage as error:
            if error.where is not None:
                raise
            raise UnreadableImage(error.what, where=path, remedy=error.remedy) from error
    if label:
        return as_label_map(image, values, path)
    return image if unit is None else units.in_unit(image, unit, path)


def read_label(path: str | Path, image: Image, *, values: Collection[int] | None = None, **options: Any) -> Image:
    """The label map of an image, refused where it is not on the grid of that image.

    A map whose axes are stored in another order or direction (RAS for LPS) is turned to those of the image. Where one
    of both states no physical size (a mask as PNG), the shapes alone are compared.
    """
    return on_grid_of(read_image(path, label=True, values=values, **options), image, path)


def on_grid_of(label: Image, image: Image, path: str | Path) -> Image:
    """A label map that has been read, on the grid of an image: see `read_label`."""
    if label.has_spacing and image.has_spacing and label.orientation != image.orientation:
        axes = image.orientation
        voxels, affine = geometry.reoriented(label.voxels, label.affine, axes)
        turned = f"turned from {label.orientation} to {axes}, the axes of the image"
        label = replace(label, voxels=voxels, affine=affine, repairs=(*label.repairs, turned))
    if label.shape_vox != image.shape_vox:
        what = f"a label map of {_by(label.shape_vox)} voxels for an image of {_by(image.shape_vox)}"
        raise UnreadableImage(what, where=path, remedy="a label map lies on the grid of its image")
    if label.has_spacing and image.has_spacing:
        apart_mm = geometry.greatest_distance_mm(label.affine, image.affine, image.shape_vox)
        if apart_mm > _APART_MOST * min(geometry.spacing_mm(image.affine)):
            what = f"its voxels lie up to {apart_mm:.3g} mm from those of the image"
            raise UnreadableImage(what, where=path, remedy="a label map lies on the grid of its image")
    return label


def image_kind(path: Path) -> str:
    """`dicom`, `folder`, `nifti`, `png`, `jpeg`, `bmp`, `gif`, `tiff`, `nrrd`, `metaimage` or `zip`."""
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise UnreadableImage("there is no such file", where=path)
    if not path.is_file():
        raise UnreadableImage("neither a file nor a folder", where=path)
    with bounded_read.opened(path) as stream:
        head = bounded_read.read_up_to(stream, _HEAD_BYTES)
    gzipped = bounded_read.is_gzip(path)
    if not head:
        raise UnreadableImage("the file is empty", where=path)
    if head[128:132] == b"DICM" and not gzipped:
        return "dicom"
    if nifti.is_nifti(head):
        return "nifti"
    found = None if gzipped else _plain_kind(path, head)
    if found is None:
        packed = "a gzip file that holds no NIfTI volume" if gzipped else "not an image of a kind that can be read"
        raise UnreadableImage(packed, where=path, remedy=f"known are {KNOWN}")
    return found


def _plain_kind(path: Path, head: bytes) -> str | None:
    if (picture := raster.raster_format(head)) is not None:
        return picture
    if tiff.is_tiff(head):
        return "tiff"
    if nrrd.is_nrrd(head):
        return "nrrd"
    if metaimage.is_metaimage(head):
        return "metaimage"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if path.suffix == ".img" and path.with_suffix(".hdr").is_file():
        return "nifti"  # the voxel half of a pair has no mark of its own
    from medvfm.io.dicom import read

    return "dicom" if read.is_dicom(path) else None


def _refuse_unused(path: Path, kind: str, wanted: _Wanted) -> None:
    """What only other kinds of files have, so that a choice is never passed over in silence."""
    given = {"series_uid": wanted.series_uid, "volume": wanted.volume} if kind not in _DICOM else {}
    if kind not in ("tiff", "zip") and wanted.page != 0:
        given["page"] = wanted.page
    for name, value in given.items():
        if value is not None:
            held = "pages of a TIFF" if name == "page" else "DICOM"
            remedy = f"leave {name} out" if name == "page" else f"leave {name} out, or say time= or channel="
            raise UnreadableImage(
                f"{name}={value!r} chooses among {held}, and it is {kind.upper()}", where=path, remedy=remedy
            )


def _one_channel(image: Image, channel: nifti.Channel, time: int | None, path: Path) -> Image:
    """The chosen channel, of colour pictures too."""
    channels = image.voxels.shape[3] if image.voxels.ndim == 4 else 1
    if time not in (None, 0):
        raise UnreadableImage(f"time {time} does not exist: it has no time axis", where=path)
    if channel in (None, "all"):
        return image
    if isinstance(channel, str) or not 0 <= channel < channels:
        raise UnreadableImage(f"channel {channel!r} does not exist: it has 0 to {channels - 1}", where=path)
    if channels == 1:
        return image
    return replace(image, voxels=image.voxels[..., channel], unit="arbitrary")


def _read(path: Path, kind: str, wanted: _Wanted) -> Image:
    limit_gib, channel, time = wanted.limit_gib, wanted.channel, wanted.time
    if kind == "nifti":
        header = path.with_suffix(".hdr") if path.suffix == ".img" else path
        return nifti.read_nifti(header, limit_gib=limit_gib, channel=channel, time=time, nan=wanted.nan)
    if kind == "zip":
        raise UnreadableImage("an archive inside the archive", where=path, remedy="unpack it first")
    if kind == "folder":
        from medvfm.io.dicom import read

        image = read.read_series(
            path, series_uid=wanted.series_uid, volume=wanted.volume, limit_gib=limit_gib, unit=_computed(wanted)
        )
    elif kind == "dicom":
        from medvfm.io.dicom import read

        image = read.read_file(path, limit_gib=limit_gib, volume=wanted.volume, unit=_computed(wanted))
    elif kind == "nrrd":
        image = nrrd.read_nrrd(path, limit_gib=limit_gib, channel=channel, time=time)
    elif kind == "metaimage":
        image = metaimage.read_metaimage(path, limit_gib=limit_gib, channel=channel)
    elif kind == "tiff":
        image = tiff.read_tiff(path, limit_gib=limit_gib, page=wanted.page, label=wanted.label)
    else:
        image = raster.read_raster(path, limit_gib=limit_gib, label=wanted.label)
    if kind not in ("nrrd", "metaimage"):  # which decide on channels themselves
        image = _one_channel(image, channel, time, path)
    voxels, mended = finite(image.voxels, wanted.nan, path)
    return replace(image, voxels=voxels, repairs=image.repairs + mended) if mended else image


def _computed(wanted: _Wanted) -> str | None:
    """The unit that a reader of DICOM computes; any other is compared with what the file states."""
    return wanted.unit if wanted.unit == "SUV" else None


def _by(shape_vox: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape_vox))
