"""Writes a simulated volume as a DICOM series of single-frame MR images, with deterministic UIDs."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage, RLELossless

CODECS = {
    "none": (ExplicitVRLittleEndian, None),
    "rle": (RLELossless, "gdcm"),
    "jpeg-ls": (JPEGLSLossless, "pyjpegls"),
}
_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")  # OID, RFC 4122 appendix C
_MOST_DECIMALS = 10


@dataclass(frozen=True)
class SeriesHeader:
    """What a series says besides its voxels. `more` holds further elements by keyword, the same in every image.

    key  names the series; UIDs of study, series, frame of reference and instances follow from it
    """

    key: str
    patient_id: str
    patient_name: str
    sex: str
    age_years: int
    study_date: datetime.date
    description: str
    thickness_mm: float
    more: Mapping[str, object]


def uid(text: str) -> UID:
    """A UID below the root for UUIDs (DICOM PS3.5 annex B.2), the same for the same text."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, text).int}")


def write_mr_series(
    folder: Path, stored: np.ndarray, affine: np.ndarray, header: SeriesHeader, *, codec: str, last_first: bool = False
) -> np.ndarray:
    """One file a slice in `folder`; gives the affine that the headers state, in which numbers are rounded.

    stored      (i, j, k) unsigned 16 bit with 12 bits used; i columns, j rows, k along the normal of the slices
    affine      (4, 4) voxel index to RAS+ mm
    last_first  instance numbers count from the last slice to the first, as some scanners do
    """
    folder.mkdir(parents=True)
    written = _rounded(affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ written
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    syntax, plugin = CODECS[codec]
    data = _common(header, stored, lps, spacing)
    count = stored.shape[2]
    numbers = range(count, 0, -1) if last_first else range(1, count + 1)
    frame = {
        "rows": stored.shape[1],
        "columns": stored.shape[0],
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": 16,
        "bits_stored": 12,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
    }
    for k, number in enumerate(numbers):
        pixels = np.ascontiguousarray(stored[:, :, k].T).astype("<u2")
        data.SOPInstanceUID = uid(f"{header.key}/{number}")
        data.InstanceNumber = number
        data.ImagePositionPatient = [_decimal(x) for x in lps[:3] @ [0, 0, k, 1]]
        data.SliceLocation = _decimal(float(np.cross(lps[:3, 0], lps[:3, 1]) @ (lps[:3] @ [0, 0, k, 1]))
                                      / float(spacing[0] * spacing[1]))  # fmt: skip
        if plugin is None:
            data.PixelData = pixels.tobytes()
        else:
            packed = get_encoder(syntax).encode(pixels, encoding_plugin=plugin, **frame)
            data.PixelData = encapsulate([packed])
        data["PixelData"].VR = "OW" if plugin is None else "OB"
        data["PixelData"].is_undefined_length = plugin is not None
        data.file_meta = _meta(syntax, data.SOPInstanceUID)
        pydicom.dcmwrite(folder / f"IM{number:04d}.dcm", data, enforce_file_format=True)
    return written


def _rounded(affine: np.ndarray) -> np.ndarray:
    """The affine as its DICOM header can state it: direction cosines and positions are decimal strings."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    out = np.eye(4)
    for column in (0, 1):
        out[:3, column] = [float(_decimal(x)) for x in lps[:3, column] / spacing[column]]
    normal = np.cross(out[:3, 0], out[:3, 1])
    if normal @ lps[:3, 2] <= 0:
        raise ValueError("slices must be stacked along the normal of columns and rows")
    out[:3, 2] = normal / np.linalg.norm(normal)
    out[:3, :3] *= spacing
    out[:3, 3] = [float(_decimal(x)) for x in lps[:3, 3]]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ out


def _decimal(number: float) -> str:
    """A decimal string of at most 16 characters (DICOM PS3.5, VR DS), never `-0`."""
    text = f"{number:.{_MOST_DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _common(header: SeriesHeader, stored: np.ndarray, lps: np.ndarray, spacing: np.ndarray) -> Dataset:
    """Everything that the images of a series share."""
    data = Dataset()
    date = header.study_date.strftime("%Y%m%d")
    low, high = (float(p) for p in np.percentile(stored[stored > stored.min()], [0.5, 99.5]))
    directions = (lps[:3, :2] / spacing[:2]).T.ravel()
    elements: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["DERIVED", "PRIMARY", "OTHER", "SIMULATED"],
        "SOPClassUID": MRImageStorage,
        "StudyDate": date,
        "SeriesDate": date,
        "ContentDate": date,
        "StudyTime": "120000",
        "SeriesTime": "120000",
        "ContentTime": "120000",
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": "medvfm simulated",
        "ReferringPhysicianName": "",
        "StudyDescription": "SIMULATED head",
        "SeriesDescription": header.description,
        "PatientName": header.patient_name,
        "PatientID": header.patient_id,
        "PatientBirthDate": "",
        "PatientSex": header.sex,
        "PatientAge": f"{header.age_years:03d}Y",
        "SliceThickness": _decimal(header.thickness_mm),
        "SpacingBetweenSlices": _decimal(float(spacing[2])),
        "StudyInstanceUID": uid(f"{header.key}/study"),
        "SeriesInstanceUID": uid(f"{header.key}/series"),
        "StudyID": "1",
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "FrameOfReferenceUID": uid(f"{header.key}/frame"),
        "PositionReferenceIndicator": "",
        "ImageOrientationPatient": [_decimal(x) for x in directions],
        "PixelSpacing": [_decimal(float(spacing[1])), _decimal(float(spacing[0]))],
        "ImageComments": "SIMULATED, no person was examined",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[1],
        "Columns": stored.shape[0],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": str(round((low + high) / 2)),
        "WindowWidth": str(max(1, round(high - low))),
        **header.more,
    }
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def _meta(syntax: UID, instance: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid("medvfm")
    meta.ImplementationVersionName = "MEDVFM"
    return meta
