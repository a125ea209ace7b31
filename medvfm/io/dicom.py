"""DICOM files and folders as Images: read right, or refused with the reason.

Voxels (column, row, slice) as stored, slices ordered along the normal of their plane (row direction x column
direction); the affine comes from positions and orientations alone. Values are after the modality rescale or lookup
table; windows are in the header and never applied. A picture without a place in the patient has its columns to the
left and its rows to posterior, from the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io import (
    dicom_build,
    dicom_facts,
    dicom_geometry,
    dicom_header,
    dicom_pet,
    dicom_projection,
    dicom_series,
    dicom_values,
)
from medvfm.io.dicom_header import Header
from medvfm.io.dicom_pixel_format import PixelFormat, pixel_format
from medvfm.io.dicom_pixels import read_stored
from medvfm.io.dicom_series import Volume, list_volumes, listed
from medvfm.io.dicom_stack import Slice, read_stack

__all__ = ["Volume", "is_dicom", "list_volumes", "read_file", "read_series"]


def is_dicom(path: str | Path) -> bool:
    """By content: the mark behind the preamble, or a data set that begins without one."""
    return dicom_header.is_dicom(Path(path))


def read_file(
    path: str | Path, *, limit_gib: float = 4.0, unit: str | None = None, volume: str | int | None = None
) -> Image:
    """One file: a picture, a slice, or the frames of a multi-frame object as a volume.

    limit_gib  the most memory that decoded voxels may take; more is refused before it is taken
    unit       `SUV` to compute body-weight SUV of PET
    volume     of a file that holds several (echoes, phases): which one, by its label or its number from 1 on
    """
    path = Path(path)
    with dicom_header.opened(path, limit_gib=limit_gib) as header:
        if header.text("MediaStorageSOPClassUID") == dicom_series.DICOMDIR:
            raise UnreadableImage("a DICOMDIR: an index of other files", where=path, remedy="give the folder itself")
        form = pixel_format(header, limit_gib)
        return _single(header, form, unit)


def _single(header: Header, form: PixelFormat, unit: str | None) -> Image:
    stored, repairs = read_stored(header, form)
    plane = dicom_facts.plane_of(header, form)
    projected = header.text("Modality") in dicom_facts.PROJECTIONS
    extra: dict[str, Any] = {}
    if plane.is_placed and not projected and form.frames == 1:
        affine, has_spacing = dicom_geometry.single_affine(plane, repairs, header.path), True
    else:
        affine, has_spacing, extra = dicom_projection.flat(header, form, repairs)
    unit, factors = dicom_pet.scaling([header], unit, repairs)
    scales = None
    if factors is not None:
        slope, intercept = dicom_values.rescale(header, "PT", repairs)
        scales = [(slope * factors[0], intercept * factors[0])] * form.frames
    return dicom_build.image_of(
        header, form, stored, affine, repairs, has_spacing=has_spacing, scales=scales, unit=unit, extra=extra
    )


def read_series(
    paths_or_folder: str | Path | Sequence[str | Path],
    *,
    series_uid: str | None = None,
    volume: str | int | None = None,
    limit_gib: float = 4.0,
    unit: str | None = None,
) -> Image:
    """The one volume among the files of a folder; refused with the choices where there are several.

    series_uid  of a folder with several series: which one
    volume      of a series with several volumes (echoes, phases, time points): its label or its number from 1 on
    limit_gib, unit  as for read_file
    """
    files = dicom_series.files_of(paths_or_folder)
    where = Path(paths_or_folder) if isinstance(paths_or_folder, str | Path) else (files[0].parent if files else None)
    scanned = {p: s for p in files if (s := dicom_series.scan(p, limit_gib)) is not None}
    facts = [s[0] for s in scanned.values()]
    found = [v for v in dicom_series.volumes_of(facts) if series_uid is None or v.series_uid == series_uid]
    chosen = _chosen(found, facts, series_uid, volume, where)
    if len(chosen.paths) == 1:
        return read_file(chosen.paths[0], limit_gib=limit_gib, unit=unit)
    slices = []
    for number, path in enumerate(chosen.paths):
        file, header, form = scanned[path]
        assert header is not None and form is not None, "a volume of several files has no damaged one"
        slices.append(Slice(header, form, replace(file.plane, number=number)))
    return read_stack(slices, where or chosen.paths[0].parent, limit_gib=limit_gib, unit=unit)


def _chosen(
    found: list[Volume],
    facts: Sequence[dicom_series.FileFacts],
    series_uid: str | None,
    volume: str | int | None,
    where: Path | None,
) -> Volume:
    damaged = [f for f in facts if f.problem is not None and f.has_pixels]
    if damaged:
        first = damaged[0]
        raise UnreadableImage(
            f"{len(damaged)} of its DICOM files cannot be read; {first.path.name}: {first.problem}", where=where
        )
    images = [v for v in found if v.problem != dicom_series.NO_PIXELS]
    images = [v for v in images if v.modality != "SEG"] or images
    if not images:
        if series_uid is not None and facts:
            others = dicom_series.volumes_of(facts)
            raise UnreadableImage(f"no images of series {series_uid}", where=where, remedy=f"it holds {listed(others)}")
        raise UnreadableImage("the folder holds no DICOM image", where=where)
    if volume is not None:
        images = _named(images, volume, where)
    if len(images) > 1:
        one_series = len({v.series_uid for v in images}) == 1
        remedy = "say which with volume=" if one_series else "say which with series_uid="
        raise UnreadableImage(
            f"it holds {len(images)} volumes or pictures, and one is asked for: {listed(images)}",
            where=where,
            remedy=remedy,
        )
    return images[0]


def _named(images: list[Volume], volume: str | int, where: Path | None) -> list[Volume]:
    named = [v for v in images if v.label == volume]
    if isinstance(volume, int) and 1 <= volume <= len(images):
        named = [images[volume - 1]]
    if not named:
        raise UnreadableImage(f"no volume {volume!r}", where=where, remedy=f"it holds {listed(images)}")
    return named
