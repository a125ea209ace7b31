"""A set of images as numbers: what every measure of made images is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array


@dataclass(frozen=True, eq=False)
class ImageSet:
    """m images as numbers; what is not there has no columns (T = 0) or is None.

    ids, patients  the case that an image belongs to, or whose condition it was made for, and its patient
    features       (m, d) of the extractor
    labels         (m, T) the classes that it shows or was asked for, NaN where unknown
    scores         (m, T) of a classifier trained on real training images
    nearest        (m,) distance to the nearest training image among features
    alike          (m,) greatest correlation of its pixels with those of a training image, moved to fit
    singled        (m,) how far that one lies, over the mean distance of the next ones: see metrics.pixel_copies
    learned        (S, r, T) scores of the real test images by classifiers trained on this set alone, one a seed
    pairs          (p, 2) images of the set by row, and their structural similarity `likeness` (p,)
    fits           (m,) CLIPScore of each image and its own words, NaN without words
    verified       (m,) 1 where a verification model takes it for an image of a training patient, else 0
    met            (m, L) 1 where its case has a condition of a combination that is held out, 0 where not, NaN unknown
    """

    ids: tuple[str, ...]
    patients: Array
    features: Array
    labels: Array
    scores: Array | None = None
    nearest: Array | None = None
    alike: Array | None = None
    singled: Array | None = None
    learned: Array | None = None
    pairs: Array | None = None
    likeness: Array | None = None
    fits: Array | None = None
    verified: Array | None = None
    met: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: Array) -> ImageSet:
        """The images of these row numbers; pairs are those of which both are among them."""
        pairs, likeness = self.pairs, self.likeness
        if pairs is not None and likeness is not None:
            place = np.full(len(self), -1)
            place[rows] = np.arange(len(rows))
            both = (place[pairs] >= 0).all(axis=1)
            pairs, likeness = place[pairs[both]], likeness[both]
        return ImageSet(
            tuple(self.ids[int(r)] for r in rows),
            self.patients[rows],
            self.features[rows],
            self.labels[rows],
            None if self.scores is None else self.scores[rows],
            None if self.nearest is None else self.nearest[rows],
            None if self.alike is None else self.alike[rows],
            None if self.singled is None else self.singled[rows],
            None,
            pairs,
            likeness,
            None if self.fits is None else self.fits[rows],
            None if self.verified is None else self.verified[rows],
            None if self.met is None else self.met[rows],
        )

    def arrays(self) -> dict[str, Array]:
        """Everything but ids and patients, by name."""
        found = {
            name: getattr(self, name)
            for name in (
                "features", "labels", "scores", "nearest", "alike", "singled", "learned", "pairs", "likeness", "fits",
                "verified", "met",
            )
        }  # fmt: skip
        return {name: array for name, array in found.items() if array is not None}
