"""Made images as DICOM: Secondary Capture objects that say they are synthetic, and what made them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import metadata

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from medvfm.core.array import Array

NOBODY = "MADE^BY A MODEL"  # patient's name and, without the caret, id: no person belongs to the image
_LONGEST = 10_240  # characters of ImageComments, VR LT


def series(images: Sequence[Array], said: Sequence[Mapping[str, str]]) -> list[bytes]:
    """Images (H, W, C) in [0, 1] with 1 or 3 channels as the DICOM files of one series in a study of its own.

    Grey ones have 16 bits, colours 8. `said` of each, such as its prompt, stands in ImageComments, a line each.
    ConversionType is SYN and SyntheticData YES (PS3.3, C.8.6.1 and C.12.1); there is no spacing and no place, as a made
    image has none.
    """
    study, own = generate_uid(prefix=None), generate_uid(prefix=None)
    return [
        _file(_object(one, words, study, own, n)) for n, (one, words) in enumerate(zip(images, said, strict=True), 1)
    ]


def _object(pixels: Array, said: Mapping[str, str], study: str, own: str, number: int) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid(prefix=None)
    made.SyntheticData = "YES"
    made.StudyInstanceUID, made.SeriesInstanceUID = study, own
    made.PatientName, made.PatientID = NOBODY, NOBODY.replace("^", " ")
    for empty in (
        "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "PatientOrientation",
    ):  # fmt: skip
        setattr(made, empty, "")
    made.Modality, made.ConversionType = "OT", "SYN"
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.SeriesDescription = "Made by a model, no patient"
    made.Manufacturer, made.SoftwareVersions = "medvfm", metadata.version("medvfm")
    made.BurnedInAnnotation = "NO"
    made.ImageComments = "\n".join(f"{name}: {words}" for name, words in said.items() if words)[:_LONGEST]
    grey = pixels.shape[2] == 1
    levels = (np.clip(pixels, 0, 1) * (65535 if grey else 255)).round().astype("<u2" if grey else np.uint8)
    made.Rows, made.Columns = levels.shape[:2]
    made.SamplesPerPixel = levels.shape[2]
    made.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
    if not grey:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = levels.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    raw = levels.tobytes()
    made.add_new("PixelData", "OW" if grey else "OB", raw + b"\0" * (len(raw) % 2))
    return made


def _file(made: Dataset) -> bytes:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()
