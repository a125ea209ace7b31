"""A CT as .nii.gz to an array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import isal_zlib
from monai.transforms import LoadImage

import medvfm
from tests.benchmarks import scans
from tests.benchmarks.measure import Row, fastest

WORKLOAD = "512 x 512 x 120, int16 (63 MB), as nibabel compresses it, to an array; voxels and affine equal"


def rows(folder: Path) -> Iterator[Row]:
    """Beside nibabel's dataobj, and MONAI's LoadImage."""
    path = folder / "ct.nii.gz"
    voxels = np.asfortranarray(scans.ct_volume().transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(voxels, np.diag([*scans.SPACING_MM, 1.0])), path)
    load = LoadImage(image_only=True)
    size = voxels.nbytes + 352

    def ours() -> medvfm.Image:
        return medvfm.read_image(path)

    def dataobj() -> np.ndarray:
        return np.asarray(nib.load(path).dataobj)

    def floor() -> bytes:
        return isal_zlib.decompress(path.read_bytes(), 31, size)

    image, affine = ours(), nib.load(path).affine
    equal = np.array_equal(image.voxels, dataobj()) and np.array_equal(image.affine, affine)
    other = load(path)
    equal_monai = np.array_equal(image.voxels, other.numpy()) and np.allclose(other.affine.numpy(), affine)
    found = fastest({"medvfm": ours, "nibabel": dataobj, "monai": lambda: load(path), "floor": floor}, 7)
    limit = {"limit": found["floor"], "limit_name": "inflated by isal in one call, its checksum compared"}
    yield Row("nifti_gz", WORKLOAD, "nibabel dataobj", found["medvfm"], found["nibabel"], 1.8, equal, **limit)
    yield Row("nifti_gz", WORKLOAD, "MONAI LoadImage", found["medvfm"], found["monai"], 4, equal_monai, **limit)
