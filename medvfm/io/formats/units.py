"""Whether an image can be in the unit that a caller or a card states for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medvfm.core.errors import UnreadableImage, nearest
from medvfm.core.image import UNITS, Image

_OF_MODALITY = {"CT": ("HU",), "PT": ("SUV", "Bq/ml"), "NM": ("Bq/ml",), "RTDOSE": ("Gy",)}
_OPEN = ("", "OT", "SC")  # modalities that say nothing of what was measured
_PICTURES = ("png", "jpeg", "bmp", "gif")


def check_name(unit: str | None, where: object = None) -> None:
    """Refuse what is no unit of ours."""
    if unit is not None and unit not in UNITS:
        raise UnreadableImage(f"unit={unit!r} is not known; {nearest(unit, UNITS)}", where=where)


def in_unit(image: Image, unit: str, where: Path) -> Image:
    """The image in that unit: as the file states it, or as the caller knows where the file says nothing of it."""
    if unit == image.unit or unit == "arbitrary":
        return replace(image, unit=unit)
    if unit == "label":
        raise UnreadableImage("a label map is no image in a unit", where=where, remedy="read it with label=True")
    if unit == "RGB":
        if image.voxels.ndim == 4 and image.voxels.shape[3] == 3 and image.voxels.dtype == np.uint8:
            return replace(image, unit=unit)
        raise UnreadableImage("unit RGB is three channels of 8 bits, and it holds others", where=where)
    if image.header.get("format") in _PICTURES:
        what = f"unit {unit} of a picture file, which holds grey levels"
        raise UnreadableImage(what, where=where, remedy="leave the unit out, or give the DICOM or NIfTI files")
    if image.unit != "arbitrary":
        what = f"its values are in {image.unit}, and no {unit} can be made of them"
        raise UnreadableImage(what, where=where, remedy=f"leave the unit out, or say {image.unit}")
    if image.header.get("format") == "dicom":
        _refuse_other_modality(image, unit, where)
    return replace(image, unit=unit)


def _refuse_other_modality(image: Image, unit: str, where: Path) -> None:
    """Of DICOM without a stated unit: refused unless values of the modality may be in it."""
    modality = str(image.header.get("modality", ""))
    if modality not in _OPEN and unit not in _OF_MODALITY.get(modality, ()):
        what = f"a file of modality {modality} holds no {unit}"
        raise UnreadableImage(what, where=where, remedy="leave the unit out")
    if image.header.get("stored_photometric") == "MONOCHROME1":
        raise UnreadableImage(f"its values are inverted (MONOCHROME1): they are in no {unit}", where=where)
    kinds = image.header.get("image_type", ())
    if unit == "HU" and isinstance(kinds, tuple) and "LOCALIZER" in kinds:
        raise UnreadableImage("a localizer of a CT, which is a projection, holds no HU", where=where)
    if modality == "PT":
        raise UnreadableImage(f"its header does not say that its values are in {unit} (Units)", where=where)
