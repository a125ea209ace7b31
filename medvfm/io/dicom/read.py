"""DICOM files and folders as Images: read correctly, or refused with the reason.

Voxels (column, row, slice) as stored, slices ordered along the normal of their plane (row direction x column
direction); the affine comes from positions and orientations alone. Values are after the modality rescale or lookup
table; windows are in the header and never applied. A picture without a place in the patient has its columns to the
left and its rows to posterior, from the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import (
    geometry,
    header_facts,
    image,
    mosaic,
    multiframe,
    pet_suv,
    projection,
    rescale,
    seg,
    series,
    volume_groups,
    whole_slide,
)
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat, pixel_format
from medvfm.io.dicom.pixels import read_stored
from medvfm.io.dicom.series import Volume, list_volumes
from medvfm.io.dicom.stack import Slice, read_stack
from medvfm.io.formats import bounded_read

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
        if series.is_directory(header):
            raise UnreadableImage("a DICOMDIR: an index of other files", where=path, remedy="give the folder itself")
        if header.text("Modality") == "SEG" and header.pixels is not None:
            return seg.read_segmentation(path, limit_gib=limit_gib)
        form = pixel_format(header, limit_gib)
        if whole_slide.is_tiled(header):
            return _slide(header, form, limit_gib)
        if volume not in (None, 1) and form.frames == 1:
            raise UnreadableImage(f"no volume {volume!r}: it holds one picture", where=path)
        if (tiled := mosaic.mosaic_of(header, form)) is not None:
            return _mosaic(header, form, tiled, limit_gib, unit)
        planes = multiframe.planes(header, form)
        if planes is None:
            return _single(header, form, unit) if form.frames == 1 else _moments(header, form)
        if volume is None and form.frames == 1:
            return _single(header, form, unit, planes[0])
        return _frames(header, form, planes, volume, limit_gib, unit)


def _single(header: Header, form: PixelFormat, unit: str | None, plane: Plane | None = None) -> Image:
    stored, repairs = read_stored(header, form)
    projected = plane is None and header.text("Modality") in header_facts.PROJECTIONS
    plane = header_facts.plane_of(header, form) if plane is None else plane
    extra: dict[str, Any] = {}
    if plane.is_placed and not projected:
        affine, has_spacing = geometry.single_affine(plane, repairs, header.path), True
    else:
        affine, has_spacing, extra = projection.flat(header, form, repairs)
    return _measured(header, form, stored, affine, repairs, unit, has_spacing=has_spacing, extra=extra)


def _moments(header: Header, form: PixelFormat) -> Image:
    """Frames that follow each other in time, or are views: a third axis without millimetres."""
    stored, repairs = read_stored(header, form)
    affine, has_spacing, extra = projection.flat(header, form, repairs)
    return _measured(header, form, stored, affine, repairs, None, has_spacing=has_spacing, extra=extra)


def _mosaic(header: Header, form: PixelFormat, tiled: mosaic.Mosaic, limit_gib: float, unit: str | None) -> Image:
    """The tiles of a Siemens mosaic as the slices of a volume."""
    bounded_read.refuse_larger(3 * form.count * form.dtype.itemsize, limit_gib, header.path)
    stored, repairs = read_stored(header, form)
    affine, order, noted = geometry.stacked(tiled.planes, header.path)
    repairs.append(f"mosaic of {tiled.form.frames} slices taken apart")
    return _measured(header, tiled.form, tiled.frames(stored)[order], affine, repairs + noted, unit)


def _slide(header: Header, form: PixelFormat, limit_gib: float) -> Image:
    """The tiles of a whole-slide image as one picture."""
    stored, repairs = read_stored(header, form)
    whole = whole_slide.assembled(header, form, stored, repairs, limit_gib)
    affine, has_spacing, extra = projection.flat(header, form, repairs, one_picture=True)
    return _measured(header, form, whole, affine, repairs, None, has_spacing=has_spacing, extra=extra)


def _frames(
    header: Header,
    form: PixelFormat,
    planes: list[Plane],
    volume: str | int | None,
    limit_gib: float,
    unit: str | None,
) -> Image:
    """The frames of one volume, ordered along their normal."""
    parts = volume_groups.split(planes)
    if volume is not None:
        named = [p for p in parts if p.label == volume]
        parts = named or (parts[volume - 1 : volume] if isinstance(volume, int) and volume > 0 else [])
    if len(parts) != 1:
        labels = "; ".join(f"{n} ({p.label})" for n, p in enumerate(volume_groups.split(planes), 1))
        what = f"it holds {len(parts)} volumes" if parts else f"it holds no volume {volume!r}"
        raise UnreadableImage(
            what, where=header.path, remedy=f"say which with volume= (in a card reading.volume): {labels}"
        )
    chosen = parts[0].planes
    if len(chosen) == 1:
        order, repairs = [0], list[str]()
        affine = geometry.single_affine(chosen[0], repairs, header.path)
    else:
        affine, order, repairs = geometry.stacked(chosen, header.path)
    numbers = [chosen[n].number for n in order]
    in_order = numbers == list(range(form.frames))
    if not in_order:
        bounded_read.refuse_larger(2 * form.count * form.dtype.itemsize, limit_gib, header.path)
    stored, mended = read_stored(header, form)
    scales = multiframe.scales(header, form, repairs)
    scales = None if scales is None else [scales[n] for n in numbers]
    return _measured(
        header, form, stored if in_order else stored[numbers], affine, repairs + mended, unit, scales=scales,
        shown=multiframe.shown(header, form),
    )  # fmt: skip


def _measured(
    header: Header,
    form: PixelFormat,
    stored: np.ndarray,
    affine: np.ndarray,
    repairs: list[str],
    unit: str | None,
    *,
    scales: list[tuple[float, float]] | None = None,
    **facts: Any,
) -> Image:
    if scales is None:
        scales = multiframe.scales(header, form, repairs)
    unit, factors = pet_suv.scaling([header], unit, repairs)
    if factors is not None:
        scales = scales or [rescale.rescale(header, "PT", repairs)] * len(stored)
        scales = [(slope * factors[0], intercept * factors[0]) for slope, intercept in scales]
    return image.image_of(header, form, stored, affine, repairs, scales=scales, unit=unit, **facts)


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
    files = series.files_of(paths_or_folder)
    where = Path(paths_or_folder) if isinstance(paths_or_folder, str | Path) else (files[0].parent if files else None)
    scanned = {p: s for p in files if (s := series.scan(p, limit_gib)) is not None}
    facts = [s[0] for s in scanned.values()]
    found = [v for v in series.volumes_of(facts) if series_uid is None or v.series_uid == series_uid]
    chosen = series.chosen_volume(found, facts, series_uid, volume, where)
    if len(chosen.paths) == 1:
        part = chosen.label if chosen.is_part else None
        return read_file(chosen.paths[0], limit_gib=limit_gib, unit=unit, volume=part)
    slices = []
    for path in chosen.paths:
        file, header, form = scanned[path]
        assert header is not None and form is not None, "a volume of several files has no damaged one"
        slices.append(Slice(header, form, file.planes[0]))
    where = where or chosen.paths[0].parent
    with dicom_header.damage_named(where):
        return read_stack(slices, where, limit_gib=limit_gib, unit=unit)
