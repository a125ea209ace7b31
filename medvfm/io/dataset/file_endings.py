"""Endings of image files, and names without them. What a file holds is told by its content all the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

MASKS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".bmp", ".dcm")
IMAGES = (*MASKS, ".jpg", ".jpeg", ".gif", ".dicom", ".zip")


def without_ending(name: str, endings: Sequence[str] = IMAGES) -> str | None:
    """`v1` for `v1.nii.gz`, whatever case the ending is in; None for a name that has none of the endings."""
    ending = next((e for e in endings if name.lower().endswith(e) and len(name) > len(e)), None)
    return None if ending is None else name[: -len(ending)]


def masks_of(folder: Path) -> dict[str, list[Path]]:
    """The masks of a folder by their names without endings: several where a case has more than one."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        name = without_ending(path.name, MASKS)
        if name is not None and path.is_file() and not path.name.startswith("."):
            found[name].append(path)
    return dict(found)
