"""Segmentation: one structure a voxel, structures that may overlap, or objects to be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.recipe import Task as Settings

KINDS = ("semantic", "multi_label", "instances")
DEFAULT_METRICS = ("dice", "hd95", "nsd@tolerance=2", "missed", "spurious")
DEFAULT_METRICS_OF_OBJECTS = ("dice", "aji", "pq", "f1@iou=0.5")
_DIAGONAL = "A missed structure counts with the diagonal of the image as its distance."
_DETECTED = "Distances where detected leave missed structures out."
WORDS = {  # of a report; a key that ends in a kind goes before the key alone
    "action": "outlined {classes}",
    "action_instances": "outlined every {classes}",
    "class": "structure",
    "classes": "structures",
    "holds": "Cases that hold each structure",
    "positive": "Present",
    "average": "mean",  # numbers are means of cases
    "convention": "Metrics were computed for each structure of each case on the grid of the image, and averaged over "
    "the cases that hold the structure; a missed structure counts with an overlap of 0.",
    "convention_instances": "Objects were matched one to one within each image; values are means over images that hold "
    "objects.",
    "convention_hd95": _DIAGONAL,
    "convention_assd": _DIAGONAL,
    "convention_hd95_detected": _DETECTED,
    "convention_assd_detected": _DETECTED,
    "baseline_location": "location prior",
    "baseline_ellipse": "ellipse in the true box",
}


@dataclass(frozen=True)
class SegmentationTask:
    """What is asked, settled: structures in order (value 1 is the first), and how they share voxels."""

    classes: tuple[str, ...]
    kind: str
    postprocess: tuple[str, ...] = ()
    unit: str = "image"
    name: str = "segmentation"

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """Where the recipe names none; the first is what is selected by."""
        return DEFAULT_METRICS_OF_OBJECTS if self.kind == "instances" else DEFAULT_METRICS

    @property
    def words(self) -> dict[str, str]:
        """What a report says of this task."""
        return WORDS

    def labelled(self, case: Case) -> bool:
        """The case has a mask."""
        return bool(case.masks)

    def stratify(self) -> tuple[str, ...]:
        """Masks say nothing of a case before they are read: splits balance only what the recipe names."""
        return ()

    def truth(self, cases: Sequence[Case]) -> np.ndarray:
        """(n, T) unknown: the truth of a mask is read case by case."""
        return np.full((len(cases), len(self.classes)), np.nan)


def build(settings: Settings, where: str, card: DataCard) -> SegmentationTask:
    """Settle the question; without `classes` all structures of the card are asked for."""
    kind = settings.kind or ("instances" if card.masks.kind == "instances" else "semantic")
    if kind not in KINDS:
        raise RecipeError(f"kind {kind!r} is not of segmentation; {nearest(kind, KINDS)}", where=where)
    if settings.unit != "image":
        raise RecipeError(f"segmentation is scored image by image, not by {settings.unit}", where=where)
    known = [label.name for _, label in sorted(card.labels.items())]
    own = dict.fromkeys(name for layout in card.layouts for name in layout.masks if name != "mask")
    structures = list(dict.fromkeys([*known, *own]))
    if kind == "instances":
        classes = settings.classes or tuple(structures[:1]) or ("object",)
        if len(classes) != 1:
            raise RecipeError(f"objects of one class are told apart, and {len(classes)} are named", where=where)
        return SegmentationTask(classes, kind, settings.postprocess)
    classes = settings.classes or tuple(structures) or ("foreground",)
    if len(set(classes)) != len(classes):
        raise RecipeError("a class stands twice", where=where)
    unknown = [name for name in classes if structures and name not in structures]
    if unknown:
        raise RecipeError(f"the card has no structure {unknown[0]!r}; {nearest(unknown[0], structures)}", where=where)
    return SegmentationTask(classes, kind, settings.postprocess)
