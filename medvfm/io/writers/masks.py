"""Masks of cases as files: NIfTI on the grid of the image, PNG for pictures that state no size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from medvfm.core.image import Image
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import file_names
from medvfm.io.writers.nifti import write_nifti

Place = tuple[tuple[int, int, int], np.ndarray, bool]  # shape, affine, whether the image states a size


def write_case(folder: Path, stem: str, mask: np.ndarray, place: Place, classes: Sequence[str]) -> list[Path]:
    """The mask of a case: one file STEM, or a folder STEM with one a structure where these may overlap (i, j, k, T)."""
    if mask.ndim == 4:
        folder, stems = folder / stem, file_names.stems(classes)
        named = [(stems[name], mask[..., t].astype(np.uint8)) for t, name in enumerate(classes)]
    else:
        named = [(stem, mask)]
    folder.mkdir(parents=True, exist_ok=True)
    return [write_mask(folder, name, array, place) for name, array in named]


def write_mask(folder: Path, stem: str, mask: np.ndarray, place: Place) -> Path:
    """Whole numbers (i, j, k) as STEM.nii.gz, or as STEM.png where the image is a picture without a physical size."""
    _, affine, has_size = place
    if not has_size and mask.shape[2] == 1:
        return write_label_png(folder / f"{stem}.png", mask[:, :, 0])
    return write_nifti(Image(mask, affine, "label", has_size), folder / f"{stem}.nii.gz")


def write_label_png(path: Path, labels: np.ndarray) -> Path:
    """Whole numbers (i, j) as a gray PNG, 16 bits where 8 do not hold them."""
    kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    out = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(labels.T.astype(kind))).save(out, format="PNG", optimize=True)
    write_bytes(path, out.getvalue())
    return path
