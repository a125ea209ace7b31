"""One reader for every image: what a file is, is told by its content and not by its name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import UNITS, Image
from medvfm.io import bounded, metaimage, nifti, nrrd, raster, tiff
from medvfm.io.values import NAN_RULES, as_label_map, finite

_HEAD_BYTES = 1024
KNOWN = "DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, BMP, GIF, a zip archive of one of these, or a DICOM folder"


def read_image(
    path: str | Path,
    *,
    limit_gib: float = 4.0,
    channel: nifti.Channel = None,
    time: int | None = None,
    page: int | None = None,
    series_uid: str | None = None,
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
    nan         `refuse`, or `zero` to replace NaN and infinity and record how many
    label       the file is a label map: whole numbers only; `values` names those that may occur
    unit        what a value of 1 means, where the caller knows more than the file (a CT as NIfTI: `HU`)
    """
    path = Path(path)
    if nan not in NAN_RULES:
        raise ValueError(f"nan={nan!r}: one of {', '.join(NAN_RULES)}")
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit={unit!r}: one of {', '.join(UNITS)}")
    kind = image_kind(path)
    if kind == "zip":
        from medvfm.io import archive

        with archive.unpacked(path, limit_gib=limit_gib) as inner:
            options = {"channel": channel, "time": time, "page": page, "series_uid": series_uid, "nan": nan}
            try:
                return read_image(inner, limit_gib=limit_gib, label=label, values=values, unit=unit, **options)  # type: ignore[arg-type]
            except UnreadableImage as error:
                raise UnreadableImage(f"inside the archive: {error.what}", where=path, remedy=error.remedy) from error
    image = _read(path, kind, limit_gib, channel, time, page, series_uid, nan, label)
    if kind != "nifti":  # which looks at both itself
        image = _one_channel(image, channel, time, path)
        voxels, mended = finite(image.voxels, nan, path)
        image = replace(image, voxels=voxels, repairs=image.repairs + mended) if mended else image
    if label:
        return as_label_map(image, values, path)
    return image if unit is None else replace(image, unit=unit)


def _one_channel(image: Image, channel: nifti.Channel, time: int | None, path: Path) -> Image:
    """The channel that is asked for, of colour pictures too."""
    channels = image.voxels.shape[3] if image.voxels.ndim == 4 else 1
    if time not in (None, 0) and image.header.get("format") != "nrrd":
        raise UnreadableImage(f"time {time} is asked for; it has no time axis", where=path)
    if channel in (None, "all") or image.header.get("format") in ("nrrd", "metaimage"):
        return image
    if not 0 <= int(channel) < channels:
        raise UnreadableImage(f"channel {channel} is asked for; it has 0 to {channels - 1}", where=path)
    if channels == 1:
        return image
    return replace(image, voxels=image.voxels[..., int(channel)], unit="arbitrary")


def image_kind(path: Path) -> str:
    """`dicom`, `folder`, `nifti`, `png`, `jpeg`, `bmp`, `gif`, `tiff`, `nrrd`, `metaimage` or `zip`."""
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise UnreadableImage("there is no such file", where=path)
    if not path.is_file():
        raise UnreadableImage("neither a file nor a folder", where=path)
    with bounded.opened(path) as stream:
        head = bounded.read_up_to(stream, _HEAD_BYTES)
    gzipped = bounded.is_gzip(path)
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
    from medvfm.io import dicom

    return "dicom" if dicom.is_dicom(path) else None


def _read(
    path: Path,
    kind: str,
    limit_gib: float,
    channel: nifti.Channel,
    time: int | None,
    page: int | None,
    series_uid: str | None,
    nan: str,
    label: bool,
) -> Image:
    if kind in ("folder", "dicom"):
        from medvfm.io import dicom  # pydicom takes a third of a second to import

        if kind == "folder":
            return dicom.read_series(path, series_uid=series_uid, limit_gib=limit_gib)
        return dicom.read_file(path, limit_gib=limit_gib)
    if kind == "nifti":
        header = path.with_suffix(".hdr") if path.suffix == ".img" else path
        return nifti.read_nifti(header, limit_gib=limit_gib, channel=channel, time=time, nan=nan)
    if kind == "nrrd":
        return nrrd.read_nrrd(path, limit_gib=limit_gib, channel=channel, time=time)
    if kind == "metaimage":
        return metaimage.read_metaimage(path, limit_gib=limit_gib, channel=channel)
    if kind == "tiff":
        return tiff.read_tiff(path, limit_gib=limit_gib, page=page, label=label)
    return raster.read_raster(path, limit_gib=limit_gib, label=label)
