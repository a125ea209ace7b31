"""DICOM files to be de-identified, read by pydicom after a check that they are whole and of bounded size."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset

from medvfm.core.errors import UnreadableImage
from medvfm.io.deidentify import burned_in_text
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom import pixel_format
from medvfm.io.formats.bounded_read import GIB

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_AUDIO = "1.2.840.10008.5.1.4.1.1.9.4."  # dictations, and sounds of other origin
_INFLATED_MOST_GIB = 1.0
_HELD_MOST_GIB = 64.0  # no pixel is decoded here


class LeftOut(Exception):
    """This file is not written; the message is the reason, without any value."""


def read(path: Path, header_only: bool = False) -> FileDataset:
    """The data set; LeftOut for objects without a patient, damaged files and content that cannot be cleaned."""
    with path.open("rb") as file:
        start = file.read(132)
        if not start:
            raise LeftOut("empty")
        bare = start[:2] in (b"\x08\0", b"\x02\0", b"\0\x08") and start[3:4] in (
            b"\0",
            b"\x05",
            b"\x08",
            b"\x16",
            b"\x18",
        )
        if start[128:] != b"DICM" and not bare:
            raise LeftOut("no DICOM file")
        _refuse_damaged(path, header_only)
        file.seek(0)
        found = pydicom.dcmread(file, force=start[128:] != b"DICM", stop_before_pixels=header_only)
    if "SOPClassUID" not in found or "SOPInstanceUID" not in found:
        if getattr(found.file_meta, "MediaStorageSOPClassUID", "") == _MEDIA_DIRECTORY:
            raise LeftOut("a DICOMDIR: a directory of old names")
        raise LeftOut("no DICOM object")
    if not header_only:
        _refuse(found)
    return found


def _refuse_damaged(path: Path, header_only: bool) -> None:
    """Checks before pydicom reads, which accepts truncated pixels silently and inflates deflated files whole."""
    reason = None
    try:
        with dicom_header.opened(path) as header:
            source = header.source
            if source.is_deflated and not source.inflates_within(int(_INFLATED_MOST_GIB * GIB)):
                reason = f"it inflates to more than {_INFLATED_MOST_GIB:g} GiB"
            elif not header_only and header.pixels is not None:
                cut = pixel_format.missing(header, pixel_format.pixel_format(header, _HELD_MOST_GIB))
                reason = cut and f"damaged: {cut}"
    except UnreadableImage:  # colours or sizes that no reader of ours knows are no reason to keep a file back
        if dicom_header.is_deflated(path):
            reason = "damaged: its deflated header cannot be read"
    if reason is not None:
        raise LeftOut(reason)


def _refuse(dataset: Dataset) -> None:
    sop_class = str(dataset.SOPClassUID)
    if sop_class == _MEDIA_DIRECTORY:
        raise LeftOut("a DICOMDIR: a directory of old names")
    if sop_class.startswith(_ENCAPSULATED) or "EncapsulatedDocument" in dataset:
        raise LeftOut("an encapsulated document, whose text cannot be cleaned")
    if sop_class.startswith(_AUDIO):
        raise LeftOut("recorded sound, in which people may speak")
    if burned_in_text.is_label(dataset):
        raise LeftOut("a photograph of a label")
