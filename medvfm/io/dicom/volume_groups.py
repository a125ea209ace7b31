"""Grouping of the planes of a series into volumes: echoes, phases, b-values and time points are separated.

Planes that differ in grid or direction never share a volume. Where several lie at one place, the attribute that tells
them apart is looked for in a fixed order; one counts only if every group that it makes has one plane at each place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medvfm.io.dicom import geometry
from medvfm.io.dicom.geometry import Plane

# in this order: what sets whole volumes apart comes before what may change from slice to slice
ATTRIBUTES = (
    "stack",
    "echo",
    "echo_time",
    "b_value",
    "gradient",
    "inversion_time",
    "flip_angle",
    "repetition_time",
    "image_type",
    "kernel",
    "kvp",
    "temporal_position",
    "acquisition",
    "phase_time",
    "trigger_time",
    "content_time",
    "acquisition_time",
    "frame_type",
    "series_time",
)
# a contrast of its own: planes that differ in these share no volume, even where none lies at the place of another
_CONTRASTS = ("echo", "echo_time", "b_value", "inversion_time")
_SAME_CONTRAST = 0.01  # of the larger, by which numbers may differ in writing alone
_KINDS = ("stack", *_CONTRASTS, "flip_angle", "image_type")
_TIMES = ("trigger_time", "phase_time", "acquisition_time", "content_time")
_PLACE_MM = 1e-2


@dataclass(frozen=True)
class VolumePart:
    """The planes of one volume, and what distinguishes it from the others of its series (empty for a single one)."""

    planes: tuple[Plane, ...]
    label: str = ""


def split(planes: Sequence[Plane]) -> list[VolumePart]:
    """The volumes among the planes of one series, the order of their first planes kept."""
    grids = _clusters(planes, _same_grid)
    parts: list[VolumePart] = []
    for number, grid in enumerate(grids, 1):
        label = "" if len(grids) == 1 else f"orientation {number}" if grid[0].is_placed else "without place or spacing"
        parts += [VolumePart(p.planes, ", ".join(filter(None, (label, p.label)))) for p in _split_grid(grid)]
    return parts


def _clusters(planes: Iterable[Plane], alike: Callable[[Plane, Plane], bool]) -> list[list[Plane]]:
    clusters: list[list[Plane]] = []
    for plane in planes:
        for cluster in clusters:
            if alike(plane, cluster[0]):
                cluster.append(plane)
                break
        else:
            clusters.append([plane])
    return clusters


def _same_grid(a: Plane, b: Plane) -> bool:
    """One direction and frame of reference; sizes and spacings that differ within it are a fault, named later."""
    if not a.is_placed or not b.is_placed:
        return a.is_placed == b.is_placed
    return geometry.same_orientation(a, b) and a.frame_of_reference == b.frame_of_reference


def _split_grid(planes: list[Plane]) -> list[VolumePart]:
    if len(planes) < 2 or not all(p.is_placed for p in planes):
        return [VolumePart(tuple(planes))]
    places = _places(planes)
    doubled = len(set(places)) < len(planes)
    if not doubled:
        return _by_contrast(planes) or [VolumePart(tuple(planes))]
    varying = [name for name in ATTRIBUTES if len({_key(p, name) for p in planes}) > 1]
    for count in (1, 2, 3):
        for names in combinations(varying, count):
            groups = _grouped(planes, places, names)
            if groups is not None:
                return groups
    return _by_kind_and_time(planes, places) or _by_time(planes, places) or [VolumePart(tuple(planes))]


def _by_contrast(planes: list[Plane]) -> list[VolumePart] | None:
    """Planes at places of their own, by what makes another contrast; None where it is one throughout."""
    names = []
    for name in _CONTRASTS:
        values = [v for p in planes if isinstance(v := p.attributes.get(name), int | float)]
        if values and max(values) - min(values) > _SAME_CONTRAST * max(map(abs, values)):
            names.append(name)
    return _sorted_parts(planes, _by_key(planes, tuple(names)), tuple(names)) if names else None


def _by_kind_and_time(planes: list[Plane], places: list[int]) -> list[VolumePart] | None:
    """Time points of several kinds of planes (magnitude and phase), the clocks differing from slice to slice."""
    for name in _KINDS:
        groups = _by_key(planes, (name,))
        if len(groups) == 1 or any({places[m] for m in members} != set(places) for members in groups.values()):
            continue
        found: list[VolumePart] = []
        for key, members in sorted(groups.items(), key=lambda item: _sortable(item[0])):
            timed = _by_time([planes[m] for m in members], [places[m] for m in members])
            if timed is None:
                break
            found += [VolumePart(p.planes, f"{_label((name,), key)}, {p.label}") for p in timed]
        else:
            return found
    return None


def _places(planes: list[Plane]) -> list[int]:
    """A number for each plane, equal where planes lie at one place."""
    along = np.array([p.position_mm for p in planes], float) @ geometry.normal(planes[0])
    order = np.argsort(along, kind="stable")
    fresh = np.concatenate([[True], np.diff(along[order]) > _PLACE_MM])
    numbers = np.empty(len(planes), int)
    numbers[order] = np.cumsum(fresh)
    return numbers.tolist()


def _key(plane: Plane, name: str) -> Hashable:
    value = plane.attributes.get(name)
    return value if isinstance(value, Hashable) else str(value)


def _grouped(planes: list[Plane], places: list[int], names: tuple[str, ...]) -> list[VolumePart] | None:
    """The groups by these attributes, None unless each has one plane at a place and they share their places."""
    groups = _by_key(planes, names)
    all_places = set(places)
    for members in groups.values():
        here = {places[m] for m in members}
        if len(here) < len(members):
            return None
        if len(here) < len(all_places) and (len(here) * 2 < len(all_places) or names[0] in _TIMES):
            return None
    if len(groups) == 1:
        return None
    return _sorted_parts(planes, groups, names)


def _by_key(planes: list[Plane], names: tuple[str, ...]) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index, plane in enumerate(planes):
        groups.setdefault(tuple(_key(plane, name) for name in names), []).append(index)
    return groups


def _sorted_parts(planes: list[Plane], groups: dict[Hashable, list[int]], names: tuple[str, ...]) -> list[VolumePart]:
    ordered = sorted(groups.items(), key=lambda item: _sortable(item[0]))
    return [VolumePart(tuple(planes[m] for m in members), _label(names, key)) for key, members in ordered]


def _sortable(key: Hashable) -> tuple:
    assert isinstance(key, tuple)
    return tuple((0, v, "") if isinstance(v, int | float) else (1, 0, str(v)) for v in key)


def _label(names: tuple[str, ...], key: Hashable) -> str:
    assert isinstance(key, tuple)
    return ", ".join(
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in zip(names, key, strict=True)
    )


def _by_time(planes: list[Plane], places: list[int]) -> list[VolumePart] | None:
    """Time points whose clock differs from slice to slice: the first at every place, the second, and so on."""
    at_place: dict[int, list[Plane]] = {}
    for plane, place in zip(planes, places, strict=True):
        at_place.setdefault(place, []).append(plane)
    counts = {len(members) for members in at_place.values()}
    if len(counts) > 1:
        return None
    for name in _TIMES:
        times = [[p.attributes.get(name) for p in members] for members in at_place.values()]
        if any(None in row or len(set(row)) < len(row) for row in times):
            continue
        ranked = [sorted(members, key=lambda p: p.attributes[name]) for members in at_place.values()]  # type: ignore[arg-type, return-value]
        return [
            VolumePart(
                tuple(members[n] for members in ranked), f"{name.replace('_', ' ')} {n + 1} of {counts.copy().pop()}"
            )
            for n in range(len(ranked[0]))
        ]
    return None
