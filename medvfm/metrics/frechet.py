"""The Fréchet distance of two sets of features, each taken as a normal distribution (Dowson and Landau 1982).

    |m - m'|^2 + tr(C) + tr(C') - 2 tr((C C')^(1/2))

With the Inception features of Heusel et al. 2017 it is FID. The last trace is the sum of the singular values of R^T R',
for any R with R R^T = C and R' R'^T = C'. Where there are more images than features both come from a Cholesky
decomposition, and the values are the roots of the eigenvalues of a symmetric matrix. Else R^T is the centred features
themselves over (n - 1)^(1/2): exact as well, where a Cholesky decomposition does not exist. Covariances divide by
n - 1, as those of pytorch-fid and torchmetrics do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics import half_products as half

LEAST = 2  # images of a set, below which there is no covariance


def fid(truth: Tensor, made: Tensor) -> Tensor:
    """Fréchet distance of features (n, d) of true and (m, d) of made images; float64, where the features lie.

    Biased upwards by few images: values compare at equal n and m. Undefined for fewer than 2 images of either.
    """
    truth, made = check_sets(truth, made)
    if min(len(truth), len(made)) > truth.shape[1]:
        return frechet_of_moments(FeatureMoments.of(truth), FeatureMoments.of(made))
    (a, mean_a), (b, mean_b) = _root_of(truth), _root_of(made)
    spread = (a**2).sum() + (b**2).sum()
    return _distance(mean_a - mean_b, spread, torch.linalg.svdvals(a.T @ b).sum())


class FeatureMoments:
    """Number, mean (d,) and scatter (d, d) of features that come in batches; float64, where the features lie.

    Scatter is the sum of (x - mean)(x - mean)^T, of which only the lower triangle is held. Batches join by Chan, Golub
    and LeVeque 1979, so that nothing large is subtracted from anything large.
    """

    def __init__(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        self.count, self.mean, self.scatter = count, mean, scatter

    @classmethod
    def of(cls, features: Tensor) -> FeatureMoments:
        """features (n, d)."""
        given = features.to(torch.float64)
        mean = given.mean(0)
        return cls(len(given), mean, half.gram(given - mean))

    @property
    def covariance(self) -> Tensor:
        """(d, d), divided by n - 1: the lower triangle."""
        return self.scatter / (self.count - 1)

    def joined(self, other: FeatureMoments) -> FeatureMoments:
        """Those of both together."""
        count = self.count + other.count
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(apart, apart) * (self.count * other.count / count)
        return FeatureMoments(count, self.mean + apart * (other.count / count), scatter)

    def without(self, part: FeatureMoments) -> FeatureMoments:
        """Those of the rest, where `part` is some of what these were made from."""
        count = self.count - part.count
        if count < 1:
            raise ValueError(f"{part.count} of {self.count} images left out: none remains")
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        apart = part.mean - mean
        scatter = self.scatter - part.scatter - torch.outer(apart, apart) * (part.count * count / self.count)
        return FeatureMoments(count, mean, scatter)


def frechet_of_moments(truth: FeatureMoments, made: FeatureMoments) -> Tensor:
    """The distance of two sets that are known by their moments alone. Undefined for fewer than 2 images of either."""
    for moments, whose in ((truth, "true"), (made, "made")):
        _check_count(moments.count, whose)
    covariances = truth.covariance, made.covariance
    (root, is_lower), (other, _) = map(_root, covariances)
    across = half.of_triangle(root, other) if is_lower else root.T @ other
    roots = half.eigenvalues(half.outer(across)).clamp(min=0).sqrt().sum()
    spread = covariances[0].trace() + covariances[1].trace()
    return _distance(truth.mean - made.mean, spread, roots)


def check_sets(truth: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; refused where they are not two sets of finite features of one kind.

    Undefined for fewer than 2 images of either.
    """
    if truth.ndim != 2 or made.ndim != 2 or truth.shape[1] != made.shape[1]:
        raise PredictionError(
            f"features {tuple(truth.shape)} of true and {tuple(made.shape)} of made images: expected (n, d) and (m, d)"
        )
    for given, whose in ((truth, "true"), (made, "made")):
        _check_count(len(given), whose)
        if not given.sum().isfinite() and not given.isfinite().all():  # a sum is quick, and finite of finite numbers
            raise PredictionError(f"features of {whose} images must be finite numbers")
    return truth.to(torch.float64), made.to(torch.float64)


def _check_count(count: int, whose: str) -> None:
    if count < LEAST:
        raise Undefined(f"{count} {whose} image{'s' * (count != 1)}: a set has {LEAST} or more")


def _distance(apart: Tensor, spread: Tensor, roots: Tensor) -> Tensor:
    return ((apart**2).sum() + spread - 2 * roots).clamp(min=0)  # by rounding alone it is below 0


def _root_of(features: Tensor) -> tuple[Tensor, Tensor]:
    """R with R R^T the covariance of features (n, d), and their mean."""
    mean = features.mean(0)
    if len(features) > features.shape[1]:
        return _root(FeatureMoments.of(features).covariance)[0], mean
    return (features - mean).T / (len(features) - 1) ** 0.5, mean


def _root(covariance: Tensor) -> tuple[Tensor, bool]:
    """R (d, d) with R R^T = covariance, and whether it is lower triangular: from the eigenvectors it is not, where the
    covariance is singular (a feature that never varies)."""
    lower = half.cholesky(covariance)
    if lower is not None:
        return lower, True
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt(), False
