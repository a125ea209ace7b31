"""The kernel distance of two sets of features: squared maximum mean discrepancy with a cubic kernel.

k(x, y) = (x y^T / d + 1)^3. With Inception features it is KID (Binkowski et al. 2018). Its estimate is unbiased
(Gretton et al. 2012, eq. 3), so that it does not depend on the number of images as the Fréchet distance does; it may be
below 0. All pairs are counted, none is drawn: the mean over random subsets that other programs give estimates the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvfm.metrics.frechet import check_sets

BLOCK = 1 << 22  # kernel values at once


def kid(truth: Tensor, made: Tensor) -> Tensor:
    """Of features (n, d) of true and (m, d) of made images; float64, where the features lie.

    Undefined for fewer than 2 images of either.
    """
    truth, made = check_sets(truth, made)
    of_truth, of_made = (torch.zeros(len(s), dtype=torch.int64, device=s.device) for s in (truth, made))
    counts = torch.tensor([len(truth), len(made)], dtype=torch.float64, device=truth.device)
    return distance(
        kernel_sums(truth, truth, of_truth, of_truth, 1)[0, 0] - own_sums(truth, of_truth, 1)[0],
        kernel_sums(made, made, of_made, of_made, 1)[0, 0] - own_sums(made, of_made, 1)[0],
        kernel_sums(truth, made, of_truth, of_made, 1)[0, 0],
        counts[0],
        counts[1],
    )


def distance(of_truth: Tensor, of_made: Tensor, between: Tensor, n: Tensor, m: Tensor) -> Tensor:
    """From sums of the kernel over pairs of different true images, of different made ones, and of one of each."""
    return of_truth / (n * (n - 1)) + of_made / (m * (m - 1)) - 2 * between / (n * m)


def kernel_sums(a: Tensor, b: Tensor, a_groups: Tensor, b_groups: Tensor, groups: int) -> Tensor:
    """(G, G) sums of k over the pairs of a's images of one group with b's of another. a (n, d), a_groups (n,)."""
    dealt_a, dealt_b = (torch.nn.functional.one_hot(g, groups).to(torch.float64) for g in (a_groups, b_groups))
    total = a.new_zeros((groups, groups), dtype=torch.float64)
    step = max(1, BLOCK // max(1, len(b)))
    for first in range(0, len(a), step):
        values = (a[first : first + step] @ b.T / a.shape[1] + 1) ** 3
        total += dealt_a[first : first + step].T @ (values @ dealt_b)
    return total


def own_sums(a: Tensor, groups_of: Tensor, groups: int) -> Tensor:
    """(G,) sums of k of each image with itself, which an unbiased estimate leaves out."""
    own = ((a**2).sum(1) / a.shape[1] + 1) ** 3
    return own.new_zeros(groups).index_add_(0, groups_of, own)
