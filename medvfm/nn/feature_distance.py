"""How far features lie from those of training images: the distance to the k-th nearest of them, beside what is usual
among the training images themselves.

Out-of-distribution detection by the k-th nearest neighbour (Sun et al. 2022, ICML). Each dimension is centred and
divided by its standard deviation over the training cases, a Mahalanobis distance with a diagonal covariance. Scaled to
length 1, as in the paper, features would lose how bright or contrasted an image is, which sets many foreign ones apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 5
MOST = 2000  # training cases that are kept
USUAL = 0.99  # of the training cases, that lie nearer to the others than a case that is called far
ENOUGH, MARGIN = 100, 1.5
FLAT = 0.01  # of the mean deviation, below which a dimension counts as that wide
CHUNK = 512


class FeatureDistance:
    """bank (n, d) standardised features of training cases, mean and scale (d,), and usual (n,) their own distances,
    ascending: each to the k-th nearest case of another patient."""

    def __init__(self, bank: Tensor, mean: Tensor, scale: Tensor, usual: Tensor) -> None:
        self.bank, self.mean, self.scale = bank.float(), mean.float(), scale.float()
        self.usual = usual.float().sort().values

    @classmethod
    def fit(cls, features: Tensor, owners: Sequence[str], seed: int = 0) -> FeatureDistance | None:
        """features (n, ...); of more than MOST cases some are drawn. None where fewer than two patients are left."""
        if len(features) > MOST:
            kept = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOST])
            features, owners = features[torch.from_numpy(kept)], [owners[int(r)] for r in kept]
        numbers = {owner: n for n, owner in enumerate(dict.fromkeys(owners))}
        if len(numbers) < 2:
            return None
        flat = features.flatten(1).float()
        mean = flat.mean(0)
        deviation = flat.std(0)
        scale = deviation.clamp_min(FLAT * float(deviation.mean()) + 1e-12) * flat.shape[1] ** 0.5
        bank = (flat - mean) / scale
        whose = torch.tensor([numbers[owner] for owner in owners], device=bank.device)
        usual = []
        for rows in torch.arange(len(bank), device=bank.device).split(CHUNK):
            apart = torch.cdist(bank[rows], bank).masked_fill(whose[rows, None] == whose[None], torch.inf)
            usual.append(_kth(apart))
        return cls(bank, mean, scale, torch.cat(usual))

    def of(self, features: Tensor) -> Tensor:
        """(m,) distances of features (m, ...), on their device."""
        bank, mean, scale = (part.to(features.device) for part in (self.bank, self.mean, self.scale))
        queries = (features.flatten(1).float() - mean) / scale
        return torch.cat([_kth(torch.cdist(part, bank)) for part in queries.split(CHUNK)])

    def quantile(self, distances: Tensor) -> Tensor:
        """(m,) the share of the training cases that lie nearer to the others."""
        return torch.searchsorted(self.usual.to(distances.device), distances.float()) / len(self.usual)

    def far(self, distances: Tensor) -> Tensor:
        """(m,) of bool: farther than USUAL of the training cases. Fewer than ENOUGH show no such share: then by MARGIN
        farther than the farthest of them."""
        few = len(self.usual) < ENOUGH
        bound = self.usual[-1] * MARGIN if few else torch.quantile(self.usual, USUAL, interpolation="higher")
        return distances > bound.to(distances.device)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` takes; half precision moves a distance by less than a thousandth."""
        return {
            "bank": self.bank.half().cpu().numpy(),
            "mean": self.mean.cpu().numpy(),
            "scale": self.scale.cpu().numpy(),
            "usual": self.usual.cpu().numpy(),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> FeatureDistance:
        return cls(arrays["bank"], arrays["mean"], arrays["scale"], arrays["usual"])


def _kth(distances: Tensor) -> Tensor:
    """(m,) the k-th smallest of each row, k at most the number of finite ones."""
    nearest = distances.topk(min(NEIGHBOURS, distances.shape[1]), dim=1, largest=False).values
    return nearest.masked_fill(nearest.isinf(), -torch.inf).amax(1)
