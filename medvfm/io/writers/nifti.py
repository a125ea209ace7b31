"""Writes an Image as NIfTI, atomically: never half a file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from isal import igzip_lib

from medvfm.core import geometry
from medvfm.core.image import Image
from medvfm.io.atomic_write import atomic_write

_SCANNER = 1  # qform and sform code: coordinates of the scanner or of another image in its frame
_KEPT = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
_NIFTI1_LONGEST = 32767
_RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def write_nifti(image: Image, path: str | Path) -> Path:
    """The image at `path` (.nii or .nii.gz), its integer type kept, sform and qform set.

    A sheared affine has no qform: only the sform is coded then. Colour becomes RGB24; other channels lie on the fifth
    axis. A picture without spacing is written in pixels, its unit of length left unknown.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name}: a NIfTI file ends in .nii or .nii.gz")
    with atomic_write(path, sync=True) as part:
        part.write_bytes(as_bytes(image, compressed=path.name.endswith(".gz")))
    return path


def as_bytes(image: Image, *, compressed: bool, comment: str = "") -> bytes:
    """What `write_nifti` writes, with a comment as an extension of the header where there is one (code 6)."""
    nifti = _nifti(image)
    if comment:
        nifti.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment.encode()))
    data: bytes = nifti.to_bytes()
    if not compressed:
        return data
    # no name and no time in the gzip header: equal images give equal files
    return bytes(igzip_lib.compress(data, level=igzip_lib.ISAL_BEST_COMPRESSION, flag=igzip_lib.COMP_GZIP))


def _nifti(image: Image) -> nibabel.Nifti1Image:
    voxels = _storable(image)
    kind = nibabel.Nifti1Image if max(voxels.shape) <= _NIFTI1_LONGEST else nibabel.Nifti2Image
    nifti = kind(voxels, None, dtype=voxels.dtype)
    header = nifti.header
    header.set_sform(image.affine, code=_SCANNER)
    header.set_qform(image.affine, code=0 if is_sheared(image.affine) else _SCANNER, strip_shears=True)
    header.set_zooms((*geometry.spacing_mm(image.affine), *header.get_zooms()[3:]))
    header.set_xyzt_units("mm" if image.has_spacing else "unknown")
    header.set_slope_inter(1, 0)
    if image.unit == "label":
        header.set_intent("label")
    return nifti


def _storable(image: Image) -> np.ndarray:
    voxels = image.voxels
    if voxels.dtype == np.bool_:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype.name not in _KEPT:
        voxels = voxels.astype(np.float32)
    if voxels.ndim == 3:
        return voxels
    if image.unit == "RGB" and voxels.dtype == np.uint8 and voxels.shape[3] == 3:
        return np.ascontiguousarray(voxels).view(_RGB24)[..., 0]
    return voxels[:, :, :, None, :]


def is_sheared(affine: np.ndarray) -> bool:
    """Whether its axes are not perpendicular to each other."""
    axes = affine[:3, :3] / np.array(geometry.spacing_mm(affine))
    return not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)
