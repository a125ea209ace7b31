"""Slices of one volume read into one array; native pixels go directly to their place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import geometry, image, pet_suv, rescale
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat
from medvfm.io.dicom.pixels import read_stored
from medvfm.io.formats import bounded_read

_PALETTES = tuple(
    f"{kind}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)


class Slice(NamedTuple):
    """A file of one picture: its header, which can be opened again, its pixel format and its place."""

    header: Header
    form: PixelFormat
    plane: Plane


def read_stack(slices: Sequence[Slice], where: Path, *, limit_gib: float, unit: str | None = None) -> Image:
    """One volume of at least two slices, ordered along their normal; refused where they are no regular grid."""
    repairs: list[str] = []
    slices = _without_copies(slices, where, repairs)
    if len(slices) < 2:
        raise UnreadableImage("all of its slices lie at one position", where=where)
    affine, order, noted = geometry.stacked([s.plane for s in slices], where)
    slices = [slices[n] for n in order]
    _refuse_mixed(slices, where)
    first = _with_bits_of_all(slices)
    grid = (len(slices), *first.form.shape[1:])
    scales = [_scale(s, repairs) for s in slices]
    fractions = 4 if any(not float(v).is_integer() for scale in scales for v in scale) else 0
    bounded_read.refuse_larger(int(np.prod(grid)) * max(first.form.dtype.itemsize, fractions), limit_gib, where)
    stored = np.empty(grid, first.form.dtype)
    has_table = "ModalityLUTSequence" in first.header
    done = unit is None and not has_table and rescale.is_shift(first.form, scales)
    for number, one in enumerate(slices):
        with one.header.source:
            _, mended = read_stored(one.header, one.form, out=stored[number : number + 1])
        repairs += mended
        if done and not rescale.shifted(stored[number], scales[number][1]):
            done = False  # too wide for 16 bits: as it was, and all at once in the end
            for earlier in range(number):
                rescale.shifted_back(stored[earlier], scales[earlier][1])
    image_unit, factors = pet_suv.scaling([s.header for s in slices], unit, repairs)
    if factors is not None:
        scales = [(slope * f, intercept * f) for (slope, intercept), f in zip(scales, factors, strict=True)]
    return image.image_of(
        first.header,
        first.form,
        stored.view(np.int16) if done else stored,
        affine,
        repairs + noted,
        scales=None if has_table else scales,
        is_rescaled=done,
        unit=image_unit,
        instances=[s.header.text("SOPInstanceUID") for s in slices],
    )


def _scale(one: Slice, repairs: list[str]) -> tuple[float, float]:
    return rescale.rescale(one.header, one.header.text("Modality"), repairs)


def _refuse_mixed(slices: Sequence[Slice], where: Path) -> None:
    first = slices[0].form
    for other in slices[1:]:
        form = other.form
        if form == first:
            continue
        if (form.dtype, form.samples, form.photometric) != (first.dtype, first.samples, first.photometric):
            raise UnreadableImage("its slices store their pixels in several formats", where=where)
        if first.photometric == "MONOCHROME1" and form.stored_range != first.stored_range:
            what = "its slices are MONOCHROME1 with several ranges of stored bits: there is no one inversion"
            raise UnreadableImage(what, where=where)
    if len({image.unit_of(s.header) for s in slices}) > 1:
        raise UnreadableImage("its slices hold values in several units", where=where)
    if len({_tables(s) for s in slices}) > 1:
        raise UnreadableImage("its slices have several lookup tables", where=where)


def _tables(one: Slice) -> tuple[bytes, ...]:
    """What turns stored values into others, which the first slice's would do for all."""
    header = one.header
    found = [header.raw(keyword) for keyword in _PALETTES] if one.form.photometric == "PALETTE COLOR" else []
    for item in header.items("ModalityLUTSequence")[:1]:
        found += [item.raw("LUTDescriptor"), item.raw("LUTData")]
    return tuple(found)


def _with_bits_of_all(slices: Sequence[Slice]) -> Slice:
    """The first slice, with as many stored bits as any of them: what its values may be is reckoned for all."""
    first = slices[0]
    most = max(s.form.bits_stored for s in slices)
    form = replace(first.form, bits_stored=most, high_bit=max(first.form.high_bit, most - 1))
    return first._replace(form=form)


def _without_copies(slices: Sequence[Slice], where: Path, repairs: list[str]) -> list[Slice]:
    """One slice for each place; refused where two at one place differ."""
    if not all(s.plane.is_placed for s in slices):
        return list(slices)
    kept: dict[tuple[int, ...], Slice] = {}
    copies = 0
    for one in slices:
        place = tuple(round(v * 100) for v in one.plane.position_mm or ())
        if place not in kept:
            kept[place] = one
            continue
        if not _identical(kept[place], one):
            raise UnreadableImage(
                f"two slices that differ lie at one position ({kept[place].header.path.name}, {one.header.path.name})",
                where=where,
            )
        copies += 1
    if copies:
        repairs.append(f"{copies} slices that occur twice, identical, were left out")
    return list(kept.values())


def _identical(a: Slice, b: Slice) -> bool:
    if a.form != b.form or _scale(a, []) != _scale(b, []):
        return False
    stored = []
    for one in (a, b):
        with one.header.source:
            stored.append(read_stored(one.header, one.form)[0])
    return np.array_equal(stored[0], stored[1])
