"""Whether a made image is of a training patient, by a verification model that the user names.

Two images are of one patient to it where the cosine of their features, less the mean of training images, is above a
limit. The limit is fixed on training images alone: only 1% of them have a cosine above it with an image of another
patient. Real test images, whose patients trained nothing, say how often that happens by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array
from medvfm.core.errors import DataError
from medvfm.core.protocols import Record
from medvfm.tasks.generation.set_features import FeatureNetwork, features_of

LIKE = 0.99  # share of training images that are not taken for another patient


@dataclass(frozen=True, eq=False)
class Verifier:
    """centre (d,) and vectors (n, d) of training images; `limit` of the cosine.

    recognised  share of training images, of those whose patient has another one, that are matched with it; None without
    """

    extractor: FeatureNetwork
    centre: Array
    vectors: Array
    limit: float
    recognised: float | None

    @classmethod
    def fitted(cls, extractor: FeatureNetwork, pixels: Array, patients: Array) -> Verifier:
        """On training images (n, C, H, W), or volumes, in [0, 1] and whose they are (n,)."""
        features = features_of(extractor, pixels).astype(float)
        centre = features.mean(axis=0)
        vectors = _units(features - centre)
        cosines = vectors @ vectors.T
        same = patients[:, None] == patients[None, :]
        if same.all():
            raise DataError(
                "all training images are of one patient, so that nothing says how alike strangers are",
                where="task.options.reidentification",
            )
        strangers = np.where(same, -np.inf, cosines).max(axis=1)
        limit = float(np.quantile(strangers[np.isfinite(strangers)], LIKE))
        others = same & ~np.eye(len(same), dtype=bool)
        known = others.any(axis=1)
        own = np.where(others, cosines, -np.inf).max(axis=1)
        return cls(extractor, centre, vectors, limit, float((own[known] > limit).mean()) if known.any() else None)

    def verified(self, pixels: Array) -> Array:
        """(m,) 1 where an image (m, C, H, W) is taken for one of a training patient, else 0."""
        if not len(pixels):
            return np.zeros(0)
        cosines = _units(features_of(self.extractor, pixels) - self.centre) @ self.vectors.T
        return np.asarray((cosines.max(axis=1) > self.limit).astype(float))

    @property
    def record(self) -> Record:
        found = self.extractor.record
        return {
            "name": found["name"], "weights": found.get("weights"), "sha256": found.get("sha256"),
            "limit": self.limit, "share": LIKE, "recognised": self.recognised,
        }  # fmt: skip


def _units(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
