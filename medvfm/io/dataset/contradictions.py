"""Cases that contradict each other or themselves: one picture with two labels, answers or masks, for two patients, or
turned away from its mask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medvfm.core.capabilities import Shown
from medvfm.core.case import Case
from medvfm.core.errors import MedvfmError
from medvfm.core.plurals import plural, some
from medvfm.io.dataset.leakage import Pixels, pixel_key
from medvfm.io.formats import raster, tiff
from medvfm.io.read import image_kind, read_image

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def labels_apart(cases: Sequence[Case], pixels: Pixels, shown: Shown = str) -> list[str]:
    """One sentence where cases of the same pixels have different labels; none where there is no such pair.

    pixels  `leakage.pixel_key` of each image of a case. Different questions on one image, and sides of one, are meant
            to differ.
    """
    labels, answers = [], []
    for first, other in _pairs(cases, pixels):
        pair = f"{shown(first.case_id)} and {shown(other.case_id)}"
        name = next((n for n in first.targets if _apart(first.target(n), other.target(n))), None)
        if first.question is not None and _two_answers(first, other):
            answers.append(f"{pair} ({first.question} {first.answer} and {other.answer})")
        elif first.question is None and name is not None:
            labels.append(f"{pair} ({name}: {first.target(name):g} and {other.target(name):g})")
    wrong = "so that one of them is wrong"
    return [
        f"{plural(len(found), 'pair')} of cases with {what}, {wrong}: {some(found)}."
        for what, found in (
            ("the same pixels and different labels", labels),
            ("the same pixels, the same question and different answers", answers),
        )
        if found
    ]


def masks_apart(cases: Sequence[Case], pixels: Pixels, shown: Shown = str) -> list[str]:
    """One sentence where cases of the same pixels come with masks in different files; copies of one mask are none."""
    found = [f"{shown(a.case_id)} and {shown(b.case_id)}" for a, b in _pairs(cases, pixels) if _two_masks(a, b)]
    what = "the same pixels and different masks, so that one of them is wrong or both belong to one case"
    return [f"{plural(len(found), 'pair')} of cases with {what}: {some(found)}."] * bool(found)


def patients_apart(cases: Sequence[Case], pixels: Pixels, shown: Shown = str) -> list[str]:
    """One sentence where cases of the same pixels belong to different patients."""
    found = [f"{shown(a.case_id)} and {shown(b.case_id)}" for a, b in _pairs(cases, pixels) if _two_patients(a, b)]
    what = "the same pixels and different patients"
    return [f"{plural(len(found), 'pair')} of cases with {what}: {some(found)}."] * bool(found)


def turned_apart(cases: Sequence[Case], shown: Shown = str) -> list[str]:
    """One sentence where a picture is to be turned by its EXIF orientation and its mask is not, or the other way."""
    found = []
    for case in cases:
        turns = {_turn(path) for path in case.files}
        of_masks = {_turn(path) for files in case.masks.values() for path in files}
        if of_masks and turns != of_masks and (turns | of_masks) - {1}:
            found.append(shown(case.case_id))
    if not found:
        return []
    return [
        f"{plural(len(found), 'case')} whose picture and mask have different EXIF orientations, so that one of them is "
        f"turned and the other is not: {some(found)}. Look at them drawn together; if they lie apart, save both "
        "without the tag."
    ]


def _pairs(cases: Sequence[Case], pixels: Pixels) -> Iterator[tuple[Case, Case]]:
    """Each case with the first one whose images are the same, all of them and in order."""
    first: dict[tuple[object, ...], Case] = {}
    for case in cases:
        keys = tuple(pixels.get(case.case_id, ()))
        if not keys:
            continue
        other = first.setdefault((keys, case.laterality, _plain(case.question), case.turns), case)
        if other is not case:
            yield other, case


def _two_patients(one: Case, other: Case) -> bool:
    return one.patient_id is not None and other.patient_id is not None and one.patient_id != other.patient_id


def _two_answers(one: Case, other: Case) -> bool:
    return one.answer is not None and other.answer is not None and _plain(one.answer) != _plain(other.answer)


def _two_masks(one: Case, other: Case) -> bool:
    """Of one structure in both: other files, with other values."""
    names = one.masks.keys() & other.masks.keys()
    return any(one.masks[n] != other.masks[n] and _content(one.masks[n]) != _content(other.masks[n]) for n in names)


def _content(files: Sequence[Path]) -> list[str]:
    """Of what cannot be read, its path: it is left out elsewhere, with its reason."""
    found = []
    for path in files:
        try:
            found.append(pixel_key(read_image(path).voxels))
        except (MedvfmError, OSError):
            found.append(str(path))
    return found


def _plain(words: str | None) -> str | None:
    """Without what does not change a question: capitals, spaces and the mark at its end."""
    return None if words is None else " ".join(words.casefold().split()).rstrip("?.! ")


def _apart(one: float, other: float) -> bool:
    return not math.isnan(one) and not math.isnan(other) and one != other


def _turn(path: Path) -> int:
    """The EXIF orientation that a picture file states; 1 of what states none or is no picture."""
    if path.suffix.lower() not in _PICTURES:
        return 1
    try:
        kind = image_kind(path)
        return tiff.orientation(path) if kind == "tiff" else raster.orientation(path, kind)
    except (MedvfmError, OSError, ValueError, SyntaxError):  # what cannot be read is left out, with its reason
        return 1


def prints_of(cases: Sequence[Case], prints: Sequence[str | None]) -> list[Case]:
    """Cases that look alike once they are prepared, and may be copies: those whose patients, labels, answers or masks
    differ."""
    alike: dict[str, list[Case]] = {}
    for case, fingerprint in zip(cases, prints, strict=True):
        if fingerprint is not None:
            alike.setdefault(fingerprint, []).append(case)
    return [case for group in alike.values() if _differ(group) for case in group]


def _differ(group: Sequence[Case]) -> bool:
    if len({case.owner for case in group}) > 1:
        return True
    if len({tuple(sorted(case.masks.items())) for case in group}) > 1:
        return True
    asked = [(_plain(case.question), _plain(case.answer)) for case in group if case.answer is not None]
    if len(set(asked)) > len({question for question, _ in asked}):
        return True
    names: Mapping[str, float] = group[0].targets
    return any(len({v for case in group if not math.isnan(v := case.target(name))}) > 1 for name in names)
