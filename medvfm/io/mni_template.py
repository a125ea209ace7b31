"""The MNI152 brain template (ICBM 2009a, symmetric) at 1 mm, an average of 152 people, from the package nilearn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np

from medvfm.core.errors import DataError

ORIGIN_MM = np.array([-98.0, -134.0, -72.0])  # RAS+ place of the first voxel; voxels are 1 mm, axes run as RAS+


def template_map(name: str) -> np.ndarray:
    """(197, 233, 189) float32 in 0 to 1: `t1`, `gm` or `wm`; the files are read, nilearn itself is not imported."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the MNI152 template comes with the package nilearn, which is not installed",
                        remedy="pip install nilearn")  # fmt: skip
    file = f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / file
    return np.asarray(nib.load(path).dataobj, dtype=np.float32) / 255  # type: ignore[attr-defined]
