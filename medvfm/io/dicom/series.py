"""The volumes in a folder of DICOM files, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import geometry as dicom_geometry
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom import header_facts, mosaic, multiframe, volume_groups, whole_slide
from medvfm.io.dicom.dictionary import DICOM_SUFFIXES, TAGS
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat, pixel_format

NO_PIXELS = "it holds no pixels"
_ALWAYS_VOLUMES = ("CT", "MR", "PT")  # several of their slices without a position are a fault, not pictures
_LISTED = 8
_NOWHERE = Plane(0, (0, 0))


@dataclass(frozen=True)
class FileFacts:
    """Header facts of one file of a folder. `problem` is the reason why it cannot be read."""

    path: Path
    problem: str | None = None
    series_uid: str = ""
    study_uid: str = field(default="", repr=False)
    instance_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    modality: str = ""
    body_part: str = ""
    transfer_syntax: str = ""
    frames: int = 1
    has_pixels: bool = True
    planes: tuple[Plane, ...] = (_NOWHERE,)  # of a picture its own; of frames each one's, or of those without one's


@dataclass(frozen=True)
class Volume:
    """One volume, picture or object of a folder: what `read_series` would read from `paths`, or why it would not.

    label  tells the volumes of one series apart: `echo 2`, `temporal position 3`
    """

    paths: tuple[Path, ...]
    series_uid: str
    modality: str
    label: str = ""
    shape_vox: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = None
    body_part: str = ""
    transfer_syntax: str = ""
    problem: str | None = None
    is_part: bool = False  # one of several volumes in a single file
    study_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape_vox)) if self.shape_vox else f"{len(self.paths)} files"
        what = ", ".join(filter(None, (self.modality, size, self.label)))
        return f"series {self.series_uid or 'without UID'} ({what})"


def list_volumes(folder: str | Path | Sequence[str | Path], *, limit_gib: float = 4.0) -> list[Volume]:
    """Every volume, picture and damaged file among the DICOM files of a folder, by series; others are passed by."""
    facts = [describe(p, limit_gib=limit_gib) for p in files_of(folder)]
    return volumes_of([f for f in facts if f is not None])


def files_of(folder: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files below a folder in a fixed order, or those that are named. No link leads out of the folder."""
    if not isinstance(folder, str | Path):
        return [Path(p) for p in folder]
    root = Path(folder)
    if not root.is_dir():
        raise UnreadableImage("there is no such folder", where=root)
    found, real = [], root.resolve()
    for directory, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_symlink() and not path.resolve().is_relative_to(real):
                raise UnreadableImage("a link that leads out of the folder", where=path)
            found.append(path)
    return found


def describe(path: Path, *, limit_gib: float = 4.0) -> FileFacts | None:
    """Facts of one file, None of a DICOMDIR and of what neither is nor is named as DICOM. For other processes too."""
    scanned = scan(path, limit_gib)
    return None if scanned is None else scanned[0]


def scan(path: Path, limit_gib: float) -> tuple[FileFacts, Header | None, PixelFormat | None] | None:
    """Facts, header and pixel format of one file; the header can be opened again for its pixels."""
    if not path.is_file():
        return None
    try:
        with dicom_header.opened(path, limit_gib=limit_gib) as header:
            if is_directory(header):
                return None
            form, problem = None, None
            try:
                form = None if header.pixels is None else pixel_format(header, limit_gib)
                planes = (_NOWHERE,) if form is None else _planes(header, form)
            except UnreadableImage as error:
                form, problem, planes = None, error.what, (_NOWHERE,)
            facts = FileFacts(
                path,
                problem=NO_PIXELS if header.pixels is None else problem,
                series_uid=header.text("SeriesInstanceUID"),
                study_uid=header.text("StudyInstanceUID"),
                instance_uid=header.text("SOPInstanceUID"),
                patient_id=header.label("PatientID"),
                modality=header.text("Modality"),
                body_part=header.text("BodyPartExamined"),
                transfer_syntax=header.syntax_name,
                has_pixels=header.pixels is not None,
                frames=1 if form is None else max(form.frames, len(planes)),
                planes=planes,
            )
            return facts, header, form
    except dicom_header.NotDicom as error:
        if path.suffix.lower() in DICOM_SUFFIXES and not path.name.startswith("."):  # .name: litter of file systems
            return FileFacts(path, problem=error.what), None, None
        return None
    except UnreadableImage as error:
        return FileFacts(path, problem=error.what), None, None


def _planes(header: Header, form: PixelFormat) -> tuple[Plane, ...]:
    if (tiled := mosaic.mosaic_of(header, form)) is not None:
        return tiled.planes
    if form.frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return (header_facts.plane_of(header, form),)
    if header.text("Modality") == "SEG" or whole_slide.is_tiled(header):
        return (Plane(0, (form.rows, form.columns)),)  # frames of segments or tiles are no slices
    found = multiframe.planes(header, form)
    return (Plane(0, (form.rows, form.columns)),) if found is None else tuple(found)


def is_directory(header: Header) -> bool:
    """A DICOMDIR: an index of other files, whose paths are not followed."""
    return TAGS["DirectoryRecordSequence"][0] in header.elements


def volumes_of(facts: Sequence[FileFacts]) -> list[Volume]:
    """The volumes among described files."""
    by_series: dict[tuple[str, ...], list[FileFacts]] = {}  # of a patient: a UID that was given twice mixes no two
    found: list[Volume] = []
    for file in facts:
        if file.problem is not None:
            found.append(_volume([file], file.planes, problem=file.problem))
        elif file.frames > 1:
            parts = volume_groups.split(file.planes)
            found += [_volume([file], p.planes, label=p.label, is_part=len(parts) > 1) for p in parts]
        else:
            by_series.setdefault((file.series_uid, file.study_uid, file.patient_id), []).append(file)
    for files in by_series.values():
        found += _series_volumes(files)
    return sorted(found, key=lambda v: (v.series_uid, v.label, v.paths))


def _series_volumes(files: list[FileFacts]) -> list[Volume]:
    flat = files[0].modality in header_facts.PROJECTIONS or not any(f.planes[0].is_placed for f in files)
    if len(files) > 1 and flat and files[0].modality not in _ALWAYS_VOLUMES:
        return [_volume([f], f.planes, label=f"picture {n}") for n, f in enumerate(files, 1)]
    planes = [replace(f.planes[0], number=n) for n, f in enumerate(files)]
    parts = volume_groups.split(planes)
    return [_volume([files[p.number] for p in part.planes], part.planes, label=part.label) for part in parts]


def _volume(
    files: list[FileFacts],
    planes: Sequence[Plane],
    *,
    label: str = "",
    problem: str | None = None,
    is_part: bool = False,
) -> Volume:
    first, where = files[0], files[0].path.parent
    shape = spacing = orientation = affine = None
    paths = tuple(f.path for f in files)
    if problem is None:
        rows, columns = planes[0].size
        shape = (columns, rows, max(len(planes), 1 if is_part else first.frames))
        try:
            if len(planes) > 1:
                affine, order, _ = dicom_geometry.stacked(planes, where)
                paths = tuple(paths[n] for n in order) if len(files) > 1 else paths
            elif planes[0].is_placed:
                affine = dicom_geometry.single_affine(planes[0], [], first.path)
            if affine is not None:
                spacing, orientation = geometry.spacing_mm(affine), geometry.orientation(affine)
        except UnreadableImage as error:
            problem = error.what
    return Volume(
        paths,
        first.series_uid,
        first.modality,
        label=label,
        shape_vox=shape,
        spacing_mm=spacing,
        orientation=orientation,
        body_part=first.body_part,
        transfer_syntax=first.transfer_syntax,
        problem=problem,
        is_part=is_part,
        study_uid=first.study_uid,
        patient_id=first.patient_id,
    )


def listed(volumes: Iterable[Volume]) -> str:
    """The volumes in words, for the refusal that names the choices."""
    words = [str(v) for v in volumes]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return "; ".join(words[:_LISTED]) + more


def chosen_volume(
    found: list[Volume],
    facts: Sequence[FileFacts],
    series_uid: str | None,
    volume: str | int | None,
    where: Path | None,
) -> Volume:
    """The chosen volume; refused where there are several (named), or where a file is damaged."""
    damaged = [f for f in facts if f.problem is not None and f.has_pixels]
    if series_uid is not None:
        damaged = [f for f in damaged if f.series_uid in ("", series_uid)]
    if damaged:
        first = damaged[0]
        raise UnreadableImage(
            f"{len(damaged)} of its DICOM files cannot be read; {first.path.name}: {first.problem}", where=where
        )
    images = [v for v in found if v.problem != NO_PIXELS]
    images = [v for v in images if v.modality != "SEG"] or images
    if not images:
        if series_uid is not None and facts:
            others = volumes_of(facts)
            raise UnreadableImage(f"no images of series {series_uid}", where=where, remedy=f"it holds {listed(others)}")
        raise UnreadableImage("the folder holds no DICOM image", where=where)
    if volume is not None:
        images = _named(images, volume, where)
    if len(images) > 1:
        one_series = len({v.series_uid for v in images}) == 1
        remedy = "say which with series_uid=, or give each series a folder of its own"
        if one_series:
            remedy = "say which with volume=, by label or number (in a card `reading: {volume: ...}`)"
        raise UnreadableImage(
            f"it holds {len(images)} volumes or pictures, and one must be chosen: {listed(images)}",
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
