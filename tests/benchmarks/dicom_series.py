"""A CT series as one file a slice to a volume in HU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from monai.transforms import LoadImage

import medvfm
from tests.benchmarks import scans
from tests.benchmarks.measure import Row, fastest

WORKLOAD = "120 slices of 512 x 512, 16 bits, explicit little endian, to one volume in HU; voxels equal"


def rows(folder: Path) -> Iterator[Row]:
    """Beside pydicom's plain loop, and MONAI's LoadImage with the reader that it chooses."""
    files = scans.write_ct_series(folder / "series", scans.ct_volume())
    load = LoadImage(image_only=True)

    def ours() -> np.ndarray:
        return medvfm.read_image(folder / "series").voxels

    def plain() -> np.ndarray:
        slices = sorted((pydicom.dcmread(f) for f in files), key=lambda ds: float(ds.ImagePositionPatient[2]))
        hu = [ds.pixel_array * int(ds.RescaleSlope) + int(ds.RescaleIntercept) for ds in slices]
        return np.stack(hu).transpose(2, 1, 0)

    def monai() -> np.ndarray:
        return load(folder / "series").numpy()

    offsets = [pydicom.dcmread(f, stop_before_pixels=False)["PixelData"].file_tell for f in files]
    shape = plain().shape[::-1]

    def floor() -> np.ndarray:
        volume = np.empty(shape, np.int16)
        for out, file, at in zip(volume, files, offsets, strict=True):
            number = os.open(file, os.O_RDONLY)
            os.preadv(number, [out.reshape(-1).view(np.uint8).data], at)
            os.close(number)
        return volume

    wanted = ours()
    equal = np.array_equal(wanted, plain())
    equal_monai = np.array_equal(wanted, monai())
    found = fastest({"medvfm": ours, "pydicom": plain, "monai": monai, "floor": floor}, 9, {"monai": 3})
    limit = {"limit": found["floor"], "limit_name": "the native pixels read into one array"}
    yield Row("dicom_series", WORKLOAD, "pydicom, a plain loop", found["medvfm"], found["pydicom"], 4, equal, **limit)
    yield Row("dicom_series", WORKLOAD, "MONAI LoadImage", found["medvfm"], found["monai"], 8, equal_monai, **limit)
