"""What restoration keeps of a split: values of each case, and its pictures as long as they are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.errors import Undefined
from medvfm.core.protocols import TrueCases
from medvfm.metrics import fidelity, kept_lesions
from medvfm.metrics.kept_lesions import UsualLesion
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.restoration.filters import ChosenFilters

TARGET = "image"
LESIONS, DEGRADED = "lesions", "degraded"  # prepared arrays
OF_IMAGES = {name: fidelity.METRICS[name] for name in ("psnr", "ssim")}
METRICS = OF_IMAGES | kept_lesions.METRICS


@dataclass(frozen=True, eq=False)
class RestoredPictures:
    """n cases: true and degraded images (n, C, H, W) in [0, 1], lesions (n, H, W) of bool, None without outlines."""

    true: Array
    degraded: Array
    lesions: Array | None

    @classmethod
    def of(cls, cases: TrueCases, *, outlined: bool) -> RestoredPictures:
        places = range(len(cases))
        true = [_plane(cases.pixels(place)) for place in places]
        degraded = [_plane(cases.array(place, DEGRADED)) for place in places]
        channels = max((p.shape[0] for p in true), default=1)
        lesions = np.stack([cases.array(place, LESIONS)[0] > 0 for place in places]) if outlined else None
        both = [np.stack([np.repeat(p, channels // p.shape[0], 0) for p in some]) for some in (true, degraded)]
        return cls(both[0], both[1], lesions)


@dataclass(frozen=True)
class Beside:
    """What training images decide: how lesions look there (None where none is outlined or seen), and filters."""

    lesion: UsualLesion | None
    filters: ChosenFilters


@dataclass(frozen=True, eq=False)
class RestoredSet(PerCaseValues):
    """See the module's docstring. restored (n, C, H, W) in [0, 1]."""

    pictures: RestoredPictures | None = None
    restored: Array | None = None
    beside: Beside | None = field(default=None)

    def by(self, name: str) -> RestoredSet:
        """What a filter makes of the same images."""
        assert self.pictures is not None and self.beside is not None
        restored = self.beside.filters.filtered(name, self.pictures.degraded)
        nothing = np.full((len(self.ids), 1), "", dtype=object)
        return replace(
            self,
            values=values(self.pictures, restored, self.beside.lesion),
            table={**self.table, "answer": nothing},
            restored=restored,
        )


def values(pictures: RestoredPictures, restored: Array, lesion: UsualLesion | None) -> dict[str, Array]:
    """Every metric of each case, (n, 1); NaN where it does not exist."""
    truth, given = (torch.from_numpy(np.ascontiguousarray(p)) for p in (pictures.true, restored))
    found: dict[str, Array] = {}
    for name, metric in OF_IMAGES.items():
        try:
            found[name] = metric.function(truth, given).numpy()[:, None]
        except Undefined:
            found[name] = np.full((len(truth), 1), np.nan)
    for name, metric in kept_lesions.METRICS.items():
        found[name] = np.full((len(truth), 1), np.nan)
        if lesion is None or pictures.lesions is None:
            continue
        for row, (a, b, mask) in enumerate(zip(pictures.true, restored, pictures.lesions, strict=True)):
            try:
                found[name][row] = metric.function(a.mean(0), b.mean(0), mask, lesion)
            except Undefined:
                continue
    return found


def usual_lesion(pictures: RestoredPictures) -> UsualLesion | None:
    if pictures.lesions is None:
        return None
    grey: Sequence[Array] = [image.mean(0) for image in pictures.true]
    try:
        return kept_lesions.usual(zip(grey, pictures.lesions, strict=True))
    except Undefined:
        return None


def _plane(pixels: Array) -> Array:
    return np.asarray(pixels, dtype=np.float32)
