"""Tiny files in the formats that data sets come in: what a path holds follows from its ending."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image as Picture

from tests.samples import dicom as dicom_samples

PIXELS = (6, 8)  # rows, columns
VOXELS = (5, 4, 3)


@dataclass(frozen=True)
class Mask:
    """A mask of these values; a picture has 255 for 1."""

    values: tuple[int, ...] = (1,)
    grey: bool = True


@dataclass(frozen=True)
class Volume:
    """A NIfTI volume with so many channels behind the three axes."""

    channels: int = 0


@dataclass(frozen=True)
class Radiograph:
    """A DICOM file with so many rows and columns."""

    pixels: tuple[int, int]


@dataclass(frozen=True)
class Series:
    """A folder with the slices of a CT."""


@dataclass(frozen=True)
class Frame:
    """A Parquet table; in the column `image` lie pictures, as the hub's tables have them."""

    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Arrays:
    """Named arrays of an .npz or an HDF5 file."""

    arrays: Mapping[str, np.ndarray]


def lay(root: Path, files: Mapping[str, Any]) -> None:
    """Write every file below `root`. None: an image whose pixels its name decides; text and JSON as they are."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = zlib.crc32(name.encode())
        if isinstance(content, str):
            packed = path.suffix == ".gz"
            path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        elif isinstance(content, list | dict):
            path.write_text(json.dumps(content), encoding="utf-8")
        elif isinstance(content, Frame):
            pd.DataFrame(list(content.rows)).to_parquet(path)
        elif isinstance(content, Arrays):
            _arrays(path, content.arrays)
        elif isinstance(content, Series):
            dicom_samples.write_series(path, count=3, seed=seed % 1000)
        elif path.suffix in (".dcm", ".dicom"):
            _radiograph(path, seed, content.pixels if isinstance(content, Radiograph) else PIXELS)
        elif path.name.endswith((".nii", ".nii.gz")):
            nibabel.save(nibabel.Nifti1Image(_voxels(content, seed), np.eye(4)), path)
        else:
            Picture.fromarray(_pixels(content, seed)).save(path)


def _arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def _radiograph(path: Path, seed: int, pixels: tuple[int, int]) -> None:
    fields = {"Modality": "CR", "ImageType": ["ORIGINAL", "PRIMARY"], "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}
    dropped = ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "RescaleSlope", "RescaleIntercept")
    made = dicom_samples.dataset(dicom_samples.noise(pixels, seed, np.uint16), drop=dropped, **fields)
    made.file_meta.MediaStorageSOPClassUID = fields["SOPClassUID"]
    dicom_samples.save(made, path)


def _voxels(content: Any, seed: int) -> np.ndarray:
    if isinstance(content, Mask):
        found = np.zeros(VOXELS, np.uint8)
        found.flat[: len(content.values)] = content.values
        return found
    channels = (content.channels,) if isinstance(content, Volume) and content.channels else ()
    return dicom_samples.noise((*VOXELS, *channels), seed)


def _pixels(content: Any, seed: int) -> np.ndarray:
    if isinstance(content, Mask):
        found = np.zeros(PIXELS, np.uint8)
        found[1:5, 1:6] = 255 if content.grey else 1
        return found
    return np.random.default_rng(seed).integers(0, 256, (*PIXELS, 3)).astype(np.uint8)


def picture_bytes(folder: Path, name: str) -> bytes:
    """An encoded PNG, for tables that hold pictures."""
    lay(folder, {f"{name}.png": None})
    return (folder / f"{name}.png").read_bytes()
