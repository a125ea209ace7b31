"""Which pixels of which DICOM files show a face: decided per series, before the files are written one by one.

A head MR or CT is defaced or it is left out; one that nothing can be said of is left out too, unless its header names
another part of the body. What is no head stays as it is. PET and other kinds are not looked at.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medvfm.core.errors import DataError, UnreadableImage
from medvfm.core.image import Image
from medvfm.io.console import Console
from medvfm.io.deidentify import deface
from medvfm.io.deidentify.head_registration import place_head
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom import read, slice_files
from medvfm.io.dicom.series import NO_PIXELS, Volume, list_volumes

DEFACED, NO_HEAD, NOT_LOOKED_AT, LEFT_OUT = "defaced", "not a head", "not looked at", "left out"
_UNREADABLE = "it cannot be read as a volume"
_MODALITIES = ("MR", "CT")
# Beginnings of words in headers; those of up to three letters are whole words.
_HEAD_WORDS = (
    *("head", "brain", "skull", "neuro", "cereb", "crani", "face", "facial", "orbit", "sinus", "pituit", "hypophys"),
    *("temporal", "iac", "iacs", "ear", "ears", "nose", "nasal", "mandib", "maxill", "dental", "encefal", "stroke"),
    *("kopf", "schädel", "schaedel", "gehirn", "tete", "tête", "cerv", "crane", "crâne", "cabeza", "testa", "mprage"),
)
_OTHER_PARTS = (
    *("chest", "thorax", "lung", "abdom", "pelvi", "liver", "kidney", "prostat", "breast", "heart", "cardiac"),
    *("cspine", "tspine", "lspine", "lumbar", "knee", "leg", "hip", "foot", "ankle", "hand", "wrist", "elbow"),
    *("shoulder", "arm", "femur", "tibia", "extremity", "uterus", "colon", "pancrea"),
)
_DESCRIPTIONS = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName",
                 "RequestedProcedureDescription", "PerformedProcedureStepDescription")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What is to be done with the file of a series, and why."""

    what: str
    why: str = ""


@dataclass
class Faces:
    """Verdicts for files, and the pixels that are removed of those that show a face."""

    verdicts: dict[Path, Verdict] = field(default_factory=dict)
    _masks: dict[Path, tuple[tuple[int, ...], bytes]] = field(default_factory=dict)  # compressed: a bit a voxel
    _lowest: dict[Path, float] = field(default_factory=dict)

    def add(self, path: Path, mask: np.ndarray, lowest: float) -> None:
        """Keep what is removed of a file: (frame, row, column) bool, and the volume's lowest value."""
        self.verdicts[path] = Verdict(DEFACED)
        self._masks[path] = mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1)
        self._lowest[path] = lowest

    def remove(self, path: Path, dataset: Dataset) -> int:
        """Set the face in the dataset's pixels to the lowest value, in place; how many pixels that were.

        Compressed pixels are stored without compression afterwards; a slice without a face stays as it is. Raises
        whatever the decoder raises: then the image cannot be made safe.
        """
        shape, packed = self._masks[path]
        mask = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
        if mask.any():
            _set_lowest(dataset, mask.astype(bool), self._lowest[path])
        return int(mask.sum())


def find_faces(paths: list[Path], console: Console) -> Faces:
    """Judge every series with pixels among these files."""
    faces, doubtful = Faces(), list[tuple[Volume, str]]()
    heads: set[str] = set()  # studies in which there is one: then an unclear series of the study is one too
    volumes = [v for v in list_volumes(paths) if v.problem != NO_PIXELS]
    for volume in console.track(volumes, len(volumes), "series"):
        if volume.modality not in _MODALITIES:
            _judge(faces, volume, Verdict(NOT_LOOKED_AT, "neither MR nor CT"))
            continue
        try:
            image, slices = _read(volume)
            placed = place_head(image)
            if placed.doubts:
                raise DataError("; ".join(placed.doubts))
        except UnreadableImage:  # whose message may name a file
            doubtful.append((volume, _UNREADABLE))
            continue
        except DataError as refused:
            doubtful.append((volume, refused.what))
            continue
        heads.add(volume.study_uid)
        mask, lowest = deface.mask_at(image, placed).transpose(2, 1, 0), float(image.voxels.min())
        for path, numbers in slices:
            faces.add(path, mask[numbers], lowest)
    for volume, why in doubtful:
        _judge(faces, volume, _doubtful(volume, why, heads))
    return faces


def _judge(faces: Faces, volume: Volume, verdict: Verdict) -> None:
    """The harder verdict holds where a file is part of several volumes."""
    for path in volume.paths:
        if verdict.what == LEFT_OUT or path not in faces.verdicts:
            faces.verdicts[path] = verdict


def _doubtful(volume: Volume, why: str, heads: set[str]) -> Verdict:
    said = _described(volume.paths[0])
    other_part = _names(volume.body_part, _OTHER_PARTS)
    if (_names(said, _HEAD_WORDS) or volume.study_uid in heads) and not other_part:
        return Verdict(LEFT_OUT, f"a head that cannot be defaced: {why}")
    if (why == _UNREADABLE or volume.is_part) and not _names(said, _OTHER_PARTS):
        return Verdict(LEFT_OUT, f"it may be a head, and cannot be defaced: {why}")
    return Verdict(NO_HEAD, why)


def _names(text: str, parts: tuple[str, ...]) -> bool:
    """Whether a word of the text begins like one of the parts; an `ear` is in no `heart`."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return any(word == part or (len(part) > 3 and word.startswith(part)) for word in words for part in parts)


def _described(path: Path) -> str:
    try:
        with dicom_header.opened(path) as header:
            return " ".join(header.text(keyword) for keyword in _DESCRIPTIONS)
    except UnreadableImage:  # and so a head that nobody can name
        return ""


def _read(volume: Volume) -> tuple[Image, list[tuple[Path, list[int]]]]:
    """The volume, and of each file which of its slices are the file's frames, in the order of the frames."""
    if volume.problem is not None:
        raise UnreadableImage(volume.problem)
    if volume.is_part:
        raise DataError("one file holds several volumes")
    if volume.shape_vox is None or volume.shape_vox[2] < 2:
        raise DataError("a single slice")
    if len(volume.paths) > 1:
        image = read.read_series(volume.paths)
        slices = [(path, [number]) for number, path in enumerate(volume.paths)]
    else:
        image = read.read_file(volume.paths[0])
        frames = [plane.number for plane in slice_files.slices_of(volume.paths[0]).planes]
        slices = [(volume.paths[0], np.argsort(frames).tolist())]
    if image.voxels.ndim != 3 or image.shape_vox[2] != sum(len(numbers) for _, numbers in slices):
        raise UnreadableImage("its slices and its files do not correspond")
    return image, slices


def _set_lowest(dataset: Dataset, mask: np.ndarray, lowest: float) -> None:
    """Write the stored value of `lowest` where the flat mask (frame, row, column) is True."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    if dataset.BitsAllocated not in (8, 16, 32) or int(dataset.SamplesPerPixel) != 1:
        raise ValueError("packed or coloured pixels")
    bits, signed = int(dataset.BitsStored), bool(dataset.get("PixelRepresentation"))
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    raw = bytearray(dataset.PixelData)
    pixels = np.frombuffer(raw, f"{order}{'i' if signed else 'u'}{dataset.BitsAllocated // 8}", len(mask))
    fill = int(pixels.min())
    slope = float(dataset.get("RescaleSlope") or 0)
    if slope and int(dataset.get("NumberOfFrames") or 1) == 1:
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        fill = int(np.clip(round((lowest - float(dataset.get("RescaleIntercept") or 0)) / slope), low, high))
    elif int(dataset.get("NumberOfFrames") or 1) == 1 and "ModalityLUTSequence" not in dataset:
        fill = int(lowest)
    pixels[mask] = fill
    dataset.PixelData = bytes(raw)
