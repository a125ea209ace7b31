"""Images and masks that belong together: in two folders, in one under two names, or in a folder for each case."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dataset.file_endings import IMAGES, MASKS, without_ending
from medvfm.io.read import read_image
from medvfm.pipeline.proposing.found import Files, MaskPair

_MASK = re.compile(r"mask|label|truth|seg|annot|contour|kontur|roi|(^|[^a-z])gt([^a-z]|$)", re.IGNORECASE)
LEAST = 0.8  # share of the masks that must have an image
TRIED = 3  # files of each side whose values are looked at
VALUES_MOST = 64  # distinct values of a mask, of a few objects
ALIKE, APART = 0.85, 0.1  # share of a mask's pixels that are as the next one, and how much more than of an image's

_Affixes = tuple[str, str, str, str]  # before and after the case's name, in images and in masks


def find(files: Files) -> MaskPair | None:
    """The pair of patterns that covers most images; None where nothing looks like masks."""
    found = [*_two_folders(files), *_one_folder(files), *_folder_a_case(files)]
    return max(found, key=lambda pair: len(pair.examples), default=None)


def _two_folders(files: Files) -> list[MaskPair]:
    folders = _by_folder(files.images)
    found = []
    for images, masks in ((a, b) for a in folders for b in folders if a != b):
        said = bool(_MASK.search(masks.rpartition("/")[2])), bool(_MASK.search(images.rpartition("/")[2]))
        if said == (False, True) or len(folders[masks]) < 2:
            continue
        affixes = _affixes(folders[images], folders[masks])
        if affixes is None:
            continue
        pair = _pair(images, masks, folders[images], folders[masks], affixes)
        if pair is not None and (said == (True, False) or _look_like_masks(files, pair)):
            found.append(pair)
    return found


def _one_folder(files: Files) -> list[MaskPair]:
    """`x.png` beside `x_mask.png`."""
    found = []
    for folder, names in _by_folder(files.images).items():
        stems = {_stem(name) for name in names}
        ends = Counter(
            stem[len(other) :] for stem in stems for other in _shorter(stem) if other in stems and _MASK.search(stem)
        )
        for end, count in ends.most_common(1):
            masks = [n for n in names if _stem(n).endswith(end)]
            images = [n for n in names if n not in masks]
            if count >= 2 and (pair := _pair(folder, folder, images, masks, ("", "", "", end))) is not None:
                found.append(pair)
    return found


def _shorter(stem: str) -> list[str]:
    return [stem[:n] for n in range(1, len(stem)) if stem[n] in "_-. "]


def _folder_a_case(files: Files) -> list[MaskPair]:
    """`CASE/image.nii.gz` beside `CASE/mask.nii.gz`."""
    inner: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in files.images:
        parts = PurePosixPath(path).parts
        if len(parts) >= 2:
            inner["/".join(parts[:-2])][parts[-1]].append(parts[-2])
    found = []
    for above, names in inner.items():
        common = {name: cases for name, cases in names.items() if len(cases) > 1}
        masks = [name for name in common if _MASK.search(name)]
        images = [name for name in common if name not in masks]
        if len(masks) == 1 and len(images) == 1:
            start = f"{above}/" if above else ""
            both = sorted(set(common[images[0]]) & set(common[masks[0]]))
            found.append(
                MaskPair(
                    f"{start}{{case}}/{images[0]}",
                    f"{start}{{case}}/{masks[0]}",
                    tuple((f"{start}{c}/{images[0]}", f"{start}{c}/{masks[0]}") for c in both),
                    len(common[images[0]]) - len(both),
                )
            )
    return found


def images_alone(pair: MaskPair) -> str:
    """The pattern of images as that of a card's files, which does not find the masks that lie beside them."""
    before, _, after = pair.images.partition("{case}")
    mask_before, _, mask_after = pair.masks.partition("{case}")
    end = mask_after.removesuffix(after)
    beside = mask_before == before and mask_after.endswith(after) and end and not set(end) & set("{}/")
    field = f"{{case_id:[^/]+?(?<!{re.escape(end)})}}" if beside else "{case_id}"
    return f"{before}{field}{after}"


def _by_folder(paths: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        if _stem(name) and not set(folder) & set("{}*?["):
            found[folder].append(name)
    return dict(found)


def _stem(name: str) -> str:
    return without_ending(name, IMAGES) or ""


def _affixes(images: Sequence[str], masks: Sequence[str]) -> _Affixes | None:
    """What stands before and after the case's name on each side, if that is the same for most masks."""
    a, b = [_stem(n) for n in images], [_stem(n) for n in masks]
    before_a, before_b = ("", "")
    for before_a, before_b in dict.fromkeys((("", ""), (_common_start(a), _common_start(b)))):
        own, other = ([s.removeprefix(x) for s in part] for part, x in ((a, before_a), (b, before_b)))
        known, ends = set(own), Counter[tuple[str, str]]()
        for stem in other:
            if stem in known:
                ends["", ""] += 1
                continue
            ends.update(("", stem[len(cut) :]) for cut in _shorter(stem) if cut in known)
            ends.update((full[len(stem) :], "") for full in known if full.startswith(stem) and full[len(stem)] in "_-.")
        if ends:
            (after_a, after_b), count = ends.most_common(1)[0]
            if count >= max(2, LEAST * len(masks)):
                return before_a, after_a, before_b, after_b
    return None


def _common_start(stems: Sequence[str]) -> str:
    """`image_` of image_001, image_002: up to the last sign that parts words."""
    return re.sub(r"[^_\-. ]*$", "", _shared(stems))


def _shared(stems: Sequence[str]) -> str:
    """The letters with which all begin: those that the first and the last in order share."""
    first, last = min(stems), max(stems)
    return first[
        : next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    ]


def _pair(
    images: str, masks: str, of_images: Sequence[str], of_masks: Sequence[str], affixes: _Affixes
) -> MaskPair | None:
    before_a, after_a, before_b, after_b = affixes
    end_a, end_b = _ending(of_images, IMAGES), _ending(of_masks, MASKS)
    if end_a is None or end_b is None:
        return None
    start_a, start_b = (f"{folder}/" if folder else "" for folder in (images, masks))
    there = set(of_masks)
    examples, lonely = [], 0
    for name in sorted(of_images):
        if not (name.startswith(before_a) and name.endswith(after_a + end_a)):
            continue
        case = name[len(before_a) : len(name) - len(after_a + end_a)]
        mask = f"{before_b}{case}{after_b}{end_b}"
        if mask in there:
            examples.append((start_a + name, start_b + mask))
        else:
            lonely += 1
    if len(examples) < 2:
        return None
    names = f"{start_a}{before_a}{{case}}{after_a}{end_a}", f"{start_b}{before_b}{{case}}{after_b}{end_b}"
    return MaskPair(*names, tuple(examples), lonely)


def _ending(names: Sequence[str], endings: Sequence[str]) -> str | None:
    """That which most of the names have."""
    counts = Counter(name[len(stem) :] for name in names if (stem := without_ending(name, endings)) is not None)
    return counts.most_common(1)[0][0] if counts else None


def _look_like_masks(files: Files, pair: MaskPair) -> bool:
    """Told by values where no name does: few whole numbers on the one side and many on the other; or, of many numbered
    objects, areas of one value on the one side alone."""
    read = [[_looks(files, one) for one in example] for example in pair.examples[:TRIED]]
    if any(found is None for example in read for found in example):
        return False
    values, alike = np.moveaxis(np.array(read, dtype=float), 2, 0)
    few = (values[:, 1] <= VALUES_MOST) & (values[:, 0] > 2 * values[:, 1])
    areas = (alike[:, 1] >= ALIKE) & (alike[:, 0] < alike[:, 1] - APART)
    return bool(few.all() or areas.all())


def _looks(files: Files, path: str) -> tuple[int, float] | None:
    """How many values there are, and the share of pixels that are as the next one; None where it cannot be read."""
    try:
        voxels = np.asarray(read_image(files.root / path).voxels)
    except UnreadableImage:
        return None
    return len(np.unique(voxels)), float((voxels[1:] == voxels[:-1]).mean()) if len(voxels) > 1 else 0.0


def by_stem(template: str, table_image: str) -> Mapping[str, str]:
    """(field, pattern) that cut the case's name out of an image's path, for a table with masks beside its images."""
    before, _, after = template.partition("{case}")
    name_before, name_after = before.rpartition("/")[2], after
    if "/" in after:
        return {"value": table_image, "pattern": f"(?P<case>[^/]+){re.escape(after)}$"}
    start = f"{re.escape(name_before)}" if name_before else ""
    return {"value": table_image, "pattern": f"(?:^|/){start}(?P<case>[^/]+){re.escape(name_after)}$"}
