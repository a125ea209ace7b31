"""Headers of NIfTI, NRRD, MetaImage and picture files, for the index: no voxel is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.io.formats import bounded_read, metaimage, nifti, nrrd, raster, tiff
from medvfm.io.read import image_kind

ENDINGS = (
    ".dcm", ".ima", ".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd",
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif",
)  # fmt: skip
_ARCHIVE = "an archive, whose files are not listed: unpack it first"


def described(path: Path) -> dict[str, Any]:
    """The data of an index entry; empty for what is no image and does not claim to be one by its name."""
    try:
        kind = image_kind(path)
    except UnreadableImage as error:
        return {"kind": "", "problem": error.what} if _claims(path) else {}
    if kind == "dicom" or (kind == "nifti" and path.name.removesuffix(".gz").endswith(".img")):
        return {}  # a DICOMDIR, or the voxels of a .hdr that has a row of its own
    if kind == "zip":
        return {"kind": kind, "problem": _ARCHIVE} if path.suffix.lower() == ".zip" else {}
    try:
        return {"kind": kind} | (_READERS[kind](path) if kind in _READERS else _picture(path, kind))
    except UnreadableImage as error:
        return {"kind": kind, "problem": error.what}
    except OSError as error:
        return {"kind": kind, "problem": f"cannot be read ({error.strerror or type(error).__name__})"}
    except Exception as error:  # decoders raise whatever a damaged file makes them trip over
        return {"kind": kind, "problem": f"damaged {kind} file ({type(error).__name__})"}


def _claims(path: Path) -> bool:
    """Whether a file that is no image is named like one; scanners write DICOM files without any ending."""
    return path.name.lower().endswith(ENDINGS) or (not path.suffix and path.stat().st_size == 0)


def _nifti(path: Path) -> dict[str, Any]:
    header = nifti.read_header(path)
    volumes = header.times * header.channels
    nbytes = math.prod(header.shape_vox) * volumes * header.dtype.itemsize
    gzipped = bounded_read.is_gzip(header.data_path)
    bounded_read.refuse_short_file(header.data_path, header.offset + nbytes, gzipped=gzipped)
    return _placed(header.shape_vox, header.affine, volumes, header.repairs)


def _nrrd(path: Path) -> dict[str, Any]:
    return _placed(*nrrd.read_grid(path))


def _metaimage(path: Path) -> dict[str, Any]:
    return _placed(*metaimage.read_grid(path))


def _tiff(path: Path) -> dict[str, Any]:
    return {"shape_vox": tiff.read_size(path)}


def _picture(path: Path, kind: str) -> dict[str, Any]:
    return {"shape_vox": (*raster.read_size(path, kind), 1)}


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "nifti": _nifti,
    "nrrd": _nrrd,
    "metaimage": _metaimage,
    "tiff": _tiff,
}


def _placed(shape_vox: Sequence[int], affine: np.ndarray, volumes: int, notes: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "shape_vox": shape_vox,
        "spacing_mm": geometry.spacing_mm(affine),
        "orientation": geometry.orientation(affine),
        "volumes": volumes,
        "notes": notes,
    }
