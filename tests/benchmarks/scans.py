"""Synthetic CT with the noise, headers and file sizes of real ones: what the benchmarks read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SPACING_MM = (0.7, 0.7, 1.25)


def ct_volume(slices: int = 120, side: int = 512, seed: int = 0) -> np.ndarray:
    """(slice, row, column) int16 HU: a body with organs and vessels in air, noise of 18 HU."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = x**2 + (1.3 * y) ** 2 < 0.6
    volume = np.empty((slices, side, side), np.int16)
    for k in range(slices):
        organs = 40 + 60 * np.sin(6 * x + k / 20) * np.cos(5 * y)
        lung = ((np.abs(x) - 0.35) ** 2 + y**2 < 0.06) & inside
        hu = np.where(inside, np.where(lung, -850, organs), -1000) + rng.normal(0, 18, x.shape)
        volume[k] = hu.clip(-1024, 3000)
    return volume


def ct_slice(hu: np.ndarray, number: int, series: int = 1) -> Dataset:
    """A CT slice with the elements that scanners write: about a hundred, private ones and sequences among them."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    uid = f"1.2.826.0.1.3680043.10.1234.{series}"
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{uid}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{uid}.1001", f"{uid}.1002", f"{uid}.1003"
    ds.PatientName, ds.PatientID = f"Phantom^Number{series}", f"PHANTOM{series:05d}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19500101", "F", "070Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112.130000"
    ds.AccessionNumber, ds.StudyID, ds.Modality = f"ACC{series:06d}", "1", "CT"
    ds.ImageType, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "Example"
    ds.InstitutionName, ds.StationName, ds.StudyDescription = "Example Hospital", "CT01", "Chest and abdomen"
    ds.SeriesDescription, ds.ManufacturerModelName, ds.BodyPartExamined = "Axial 1.25 mm", "Example 64", "CHEST"
    ds.KVP, ds.DataCollectionDiameter, ds.ReconstructionDiameter = "120", "500", "360"
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient, ds.GantryDetectorTilt = "950", "540", "0"
    ds.TableHeight, ds.RotationDirection, ds.ExposureTime = "150", "CW", "500"
    ds.XRayTubeCurrent, ds.Exposure, ds.FilterType = "250", "125", "BODY FILTER"
    ds.GeneratorPower, ds.FocalSpots, ds.ConvolutionKernel = "60", ["1.2"], "STANDARD"
    ds.PatientPosition, ds.SliceThickness, ds.ProtocolName = "FFS", "1.25", "6.1 Chest"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, number + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, 1.25 * number], [1, 0, 0, 0, 1, 0]
    ds.SliceLocation, ds.PositionReferenceIndicator = f"{1.25 * number:g}", "SN"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, f"{uid}.9"
    ds.ReferencedImageSequence = Sequence([reference, reference])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTCHEST", "L", "CT chest"
    ds.ProcedureCodeSequence, ds.RequestAttributesSequence = Sequence([code]), Sequence([code])
    block = ds.private_block(0x0009, "EXAMPLE_IDEN_01", create=True)
    for offset in range(1, 30):
        block.add_new(offset, "LO", f"value {offset}")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.PixelSpacing = [SPACING_MM[1], SPACING_MM[0]]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelPaddingValue = -2000
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.PixelData = (hu + 1024).astype("<i2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_ct_series(folder: Path, volume: np.ndarray, series: int = 1) -> list[Path]:
    """The volume as a file a slice, in file order."""
    folder.mkdir(parents=True)
    paths = []
    for number, hu in enumerate(volume):
        paths.append(folder / f"IM{number:04d}")
        ct_slice(hu, number, series).save_as(paths[-1], enforce_file_format=True)
    return paths
