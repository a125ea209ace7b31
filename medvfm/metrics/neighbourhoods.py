"""What nearest neighbours in a space of features say of two sets: fidelity apart from diversity, and copies.

The neighbourhood of an image is the closed ball around it that reaches to its k-th nearest of its own set, itself not
counted. Kynkaanniemi et al. 2019 (eq. 1 to 3) with k = 3: precision, the share of made images in the neighbourhood of
a true one, and recall, the share of true images in that of a made one. Naeem et al. 2020 (eq. 6 and 7) with k = 5:
density, in how many neighbourhoods of true images a made one lies, over k; and coverage, the share of true images with
a made one in their neighbourhood. One outlier among true images widens precision, and does not widen the latter.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics.frechet import check_sets

NEIGHBOURS = 3  # of precision and recall
NEIGHBOURS_OF_DENSITY = 5  # and of coverage
BLOCK = 1 << 22  # distances at once
SAME = 1e-12  # squared distances below this share of the squared lengths are rounding


def precision(truth: Tensor, made: Tensor) -> Tensor:
    """Share of made images (m, d) in the neighbourhood of a true one (n, d).

    Undefined, as all of these, where a set has no more images than neighbours are asked for.
    """
    truth, made = check_sets(truth, made)
    return (_balls_around(made, truth, NEIGHBOURS, "true") > 0).to(torch.float64).mean()


def recall(truth: Tensor, made: Tensor) -> Tensor:
    """Share of true images (n, d) in the neighbourhood of a made one (m, d)."""
    truth, made = check_sets(truth, made)
    return (_balls_around(truth, made, NEIGHBOURS, "made") > 0).to(torch.float64).mean()


def density(truth: Tensor, made: Tensor) -> Tensor:
    """Mean number of neighbourhoods of true images (n, d) in which a made one (m, d) lies, over k; may be above 1."""
    truth, made = check_sets(truth, made)
    k = NEIGHBOURS_OF_DENSITY
    return _balls_around(made, truth, k, "true").to(torch.float64).mean() / k


def coverage(truth: Tensor, made: Tensor) -> Tensor:
    """Share of true images (n, d) with a made one (m, d) in their neighbourhood."""
    truth, made = check_sets(truth, made)
    reach = radii(truth, NEIGHBOURS_OF_DENSITY, "true")
    return (nearest_distances(truth, made) <= reach).to(torch.float64).mean()


def nearest_distances(points: Tensor, among: Tensor) -> Tensor:
    """(n,) float64 distance of each of points (n, d) to the nearest among (m, d); 0 for a copy."""
    return nearest(points, among)[0]


def nearest(points: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) distance of each of points (n, d) to the nearest among (m, d), and (n,) which one that is."""
    if not len(among):
        raise Undefined("no images to be near to")
    found = [block.min(1) for _, block in distance_blocks(points, among)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def radii(points: Tensor, k: int, whose: str) -> Tensor:
    """(n,) distance of each of points (n, d) to its k-th nearest of the others."""
    check_neighbours(len(points), k, whose)
    found = []
    for first, block in distance_blocks(points, points):
        found.append(without_itself(block, first).kthvalue(k, dim=1).values)
    return torch.cat(found)


def check_neighbours(count: int, k: int, whose: str) -> None:
    if count <= k:
        raise Undefined(f"{count} {whose} images: {k} neighbours of each are {k + 1} images or more")


def without_itself(block: Tensor, first: int) -> Tensor:
    """Distances (r, n) of the points from `first` on to all, those to themselves infinite. Changes `block`."""
    rows = torch.arange(len(block), device=block.device)
    block[rows, rows + first] = torch.inf
    return block


def distance_blocks(points: Tensor, others: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Euclidean distances (r, m) of some of points (n, d) to all others (m, d), after the number of the first."""
    if points.ndim != 2 or others.ndim != 2 or points.shape[1] != others.shape[1]:
        raise PredictionError(f"features {tuple(points.shape)} and {tuple(others.shape)}: expected (n, d) and (m, d)")
    centre = others.to(torch.float64).mean(0)  # what is near 0 loses less by rounding
    a, b = points.to(torch.float64) - centre, others.to(torch.float64) - centre
    lengths_a, lengths_b = (a**2).sum(1, keepdim=True), (b**2).sum(1)
    step = max(1, BLOCK // max(1, len(b)))
    for first in range(0, len(a), step):
        lengths = lengths_a[first : first + step] + lengths_b
        squared = lengths - 2 * (a[first : first + step] @ b.T)
        yield first, squared.masked_fill_(squared < SAME * lengths, 0).sqrt_()


def _balls_around(points: Tensor, centres: Tensor, k: int, whose: str) -> Tensor:
    """(m,) in how many neighbourhoods of centres (n, d) each of points (m, d) lies."""
    reach = radii(centres, k, whose)
    return torch.cat([(block <= reach).sum(1) for _, block in distance_blocks(points, centres)])
