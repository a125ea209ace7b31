"""Small DICOM files written by pydicom, for tests: what is not named is a plausible CT slice."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medvfm.core.image import Image

CT = "1.2.840.10008.5.1.4.1.1.2"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def dataset(
    pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, drop: Sequence[str] = (), **fields: Any
) -> FileDataset:
    """A data set around pixels (row, column[, 3]) or (frame, row, column); `drop` leaves attributes out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = generate_uid()
    implicit, big = syntax == "1.2.840.10008.1.2", syntax == "1.2.840.10008.1.2.2"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=implicit, is_little_endian=not big)
    ds.SOPClassUID, ds.SOPInstanceUID = CT, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    ds.PatientName, ds.PatientID, ds.Modality = "Hasenbein^Ottilie", "PID-550123", "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    colour = pixels.ndim in (3, 4) and pixels.shape[-1] == 3
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    if pixels.ndim - colour == 3:
        ds.NumberOfFrames = pixels.shape[0]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if not colour:
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10.0, -20.0, 30.0], list(AXIAL)
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.9], 2.5
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    for keyword in drop:
        delattr(ds, keyword)
    if ds.BitsAllocated > 8:
        ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    else:
        ds.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Written as its transfer syntax says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def noise(shape: Sequence[int], seed: int = 0, dtype: type = np.int16) -> np.ndarray:
    """Values that differ all over, in the range of a CT."""
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(dtype)


def write_series(
    folder: Path,
    count: int = 6,
    *,
    orientation: Sequence[float] = AXIAL,
    start: Sequence[float] = (-10.0, -20.0, 30.0),
    step: Sequence[float] | None = None,
    shape: tuple[int, int] = (12, 17),
    places: Sequence[int] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """Slices along the normal, 2.5 mm apart unless `step` (LPS mm) says otherwise; file names in random order."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    along = 2.5 * np.cross(row, column) if step is None else np.array(step)
    names = np.random.default_rng(seed).permutation(1000)
    for n, place in enumerate(range(count) if places is None else places):
        position = np.array(start) + place * along
        given = {k: (v[n] if isinstance(v, list) and len(v) == count and k.islower() else v) for k, v in fields.items()}
        ds = dataset(
            noise(shape, seed * 1000 + n),
            ImageOrientationPatient=[float(v) for v in orientation],
            ImagePositionPatient=[round(float(v), 6) for v in position],
            InstanceNumber=int(names[n]),
            **given,
        )
        save(ds, folder / f"{names[n]:04d}")
    return folder


def pydicom_folder() -> Path:
    """Where pydicom keeps its own test files."""
    return Path(pydicom.__file__).parent / "data"


def rtstruct(path: Path, contours: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR") -> Path:
    """An RTSTRUCT; contours are (n, 3) LPS mm."""
    ds = dataset(np.zeros((2, 2), np.uint8), Modality="RTSTRUCT")
    del ds.PixelData, ds.Rows, ds.Columns
    names, drawn = [], []
    for number, (name, polygons) in enumerate(contours.items(), 1):
        region, shape = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        shape.ReferencedROINumber = number
        shape.ContourSequence = DicomSequence([])
        for points in polygons:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{v:.6f}" for v in np.asarray(points).ravel()]
            shape.ContourSequence.append(contour)
        names.append(region)
        drawn.append(shape)
    ds.StructureSetROISequence, ds.ROIContourSequence = DicomSequence(names), DicomSequence(drawn)
    return save(ds, path)


def to_mm(image: Image, points_vox: np.ndarray, k: float) -> np.ndarray:
    """(n, 2) in voxel coordinates of slice k as LPS mm."""
    full = np.c_[points_vox, np.full(len(points_vox), k), np.ones(len(points_vox))]
    return (full @ image.affine.T)[:, :3] * [-1, -1, 1]


def same_places(image: Image, other: sitk.Image, count: int = 200) -> None:
    """Random voxels of ours lie at a voxel of theirs and hold its value."""
    theirs = sitk.GetArrayFromImage(other)
    r = np.random.default_rng(0)
    for _ in range(count):
        vox = np.array([r.integers(0, n) for n in image.shape_vox])
        point = (LPS @ image.affine @ np.append(vox, 1))[:3]
        at = np.array(other.TransformPhysicalPointToContinuousIndex([float(v) for v in point]))
        i, j, k = np.rint(at).astype(int)
        assert np.abs(at - [i, j, k]).max() < 1e-3
        assert theirs[k, j, i] == image.voxels[tuple(vox)]


def rotation(x: float, y: float, z: float) -> np.ndarray:
    a, b, c = np.radians([x, y, z])
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(about_x) @ about_y @ about_z


def oblique(x: float, y: float, z: float) -> list[float]:
    turned = rotation(x, y, z)
    return [round(float(v), 9) for v in (*turned[:, 0], *turned[:, 1])]


def item(**fields) -> DicomSequence:
    found = Dataset()
    for keyword, value in fields.items():
        setattr(found, keyword, value)
    return DicomSequence([found])


def enhanced(places, *, orientation=AXIAL, per_frame=None, scales=None, measures=True) -> Dataset:
    """Frames at multiples of 3 mm along the normal, in the order given."""
    pixels = noise((len(places), 9, 11), dtype=np.uint16)
    drop = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope"]
    ds = dataset(pixels, Modality="MR", SOPClassUID=ENHANCED_MR, drop=[*drop, "RescaleIntercept"])
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    if measures:
        shared.PixelMeasuresSequence = item(PixelSpacing=[0.7, 0.9], SliceThickness=4, SpacingBetweenSlices=4)
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    normal = np.cross(orientation[:3], orientation[3:])
    frames = []
    for n, place in enumerate(places):
        frame = Dataset()
        position = np.array([-10.0, -20.0, 30.0]) + 3.0 * place * normal
        frame.PlanePositionSequence = item(ImagePositionPatient=[round(float(v), 6) for v in position])
        frame.FrameContentSequence = item(StackID="1", **(per_frame[n] if per_frame else {}))
        if scales is not None:
            frame.PixelValueTransformationSequence = item(
                RescaleSlope=scales[n][0], RescaleIntercept=scales[n][1], RescaleType="US"
            )
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    return ds


def deflated(ds: Dataset, path: Path, *, zeros_mib: int = 0, only: bytes | None = None) -> Path:
    """A deflated file: the data set, or `only` these bytes, and behind them so many zeros."""
    plain = save(ds, path.with_name("plain")).read_bytes()
    at = plain.index(b"\x08\x00\x08\x00CS")
    old, new = b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99"
    assert plain[:at].count(old) == 1
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(plain[at:] if only is None else only)
    out += packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    out += block * zeros_mib
    path.write_bytes(plain[:at].replace(old, new) + out + packer.flush())
    return path
