"""Source files and frames of the slices of a volume, from headers alone, in the order of `read_image`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import geometry, header_facts, mosaic, multiframe, series, whole_slide
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat


@dataclass(frozen=True)
class SourceSlices:
    """Where the slices of one volume come from, ordered along their normal.

    headers   one for each slice, or a single one whose frames the slices are; `planes[k].number` is the frame then
    planes    the place of each slice; a picture without a place in the patient has one plane that is not placed
    """

    headers: tuple[Header, ...]
    planes: tuple[Plane, ...]

    @property
    def shape_vox(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.planes[0].size
        return columns, rows, len(self.planes)

    @property
    def is_placed(self) -> bool:
        """Whether it has a position in the patient."""
        return self.planes[0].is_placed

    @property
    def is_multiframe(self) -> bool:
        """Whether the slices are frames of one file."""
        return len(self.headers) < len(self.planes)

    @property
    def step_mm(self) -> float | None:
        """From slice to slice along the normal; None of a single slice."""
        if len(self.planes) < 2:
            return None
        first, last = (np.array(p.position_mm, float) for p in (self.planes[0], self.planes[-1]))
        return float((last - first) @ geometry.normal(self.planes[0])) / (len(self.planes) - 1)


def slices_of(path: Path, *, series_uid: str | None = None, limit_gib: float = 4.0) -> SourceSlices:
    """The slices of a file, or of the one series of a folder; refused where `read_image` would refuse the headers."""
    scanned = {p: s for p in _files(path) if (s := series.scan(p, limit_gib)) is not None}
    facts = [s[0] for s in scanned.values()]
    found = [v for v in series.volumes_of(facts) if series_uid is None or v.series_uid == series_uid]
    chosen = series.chosen_volume(found, facts, series_uid, None, path)
    headers, planes = [], []
    for number, file in enumerate(chosen.paths):
        fact, header, form = scanned[file]
        assert header is not None and form is not None, "a chosen volume has no damaged file"
        if whole_slide.is_tiled(header):
            raise UnreadableImage("a whole-slide image, whose tiles are no slices", where=file)
        if mosaic.mosaic_of(header, form) is not None:
            raise UnreadableImage("a Siemens mosaic, whose slices are no files or frames of their own", where=file)
        if len(chosen.paths) == 1:
            return _of_one(header, form)
        headers.append(header)
        planes.append(replace(fact.planes[0], number=number))
    kept = _without_copies(planes)
    if len(kept) < 2:
        raise UnreadableImage("all of its slices lie at one position", where=path)
    _, order, _ = geometry.stacked(kept, path)
    return SourceSlices(tuple(headers[kept[n].number] for n in order), tuple(kept[n] for n in order))


def _files(path: Path) -> list[Path]:
    return series.files_of(path) if path.is_dir() else [path]


def _of_one(header: Header, form: PixelFormat) -> SourceSlices:
    """A picture, a slice, or the frames of a file."""
    with dicom_header.damage_named(header.path):
        planes = multiframe.planes(header, form)
        plane = header_facts.plane_of(header, form) if planes is None else planes[0]
    if form.frames == 1:
        flat = not plane.is_placed or (planes is None and header.text("Modality") in header_facts.PROJECTIONS)
        return SourceSlices((header,), (replace(plane, position_mm=None) if flat else plane,))
    if planes is None:
        raise UnreadableImage("its frames are moments or views without a place in the patient", where=header.path)
    _, order, _ = geometry.stacked(planes, header.path)
    return SourceSlices((header,), tuple(planes[n] for n in order))


def _without_copies(planes: list[Plane]) -> list[Plane]:
    """The first at each place, as `read_image` keeps it, which has checked that the others are identical."""
    if not all(p.is_placed for p in planes):
        return planes
    kept: dict[tuple[int, ...], Plane] = {}
    for plane in planes:
        kept.setdefault(tuple(round(v * 100) for v in plane.position_mm or ()), plane)
    return list(kept.values())
