"""Connectors: from patches of an image encoder to vectors that a language model reads in place of tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import RecipeError, nearest
from medvfm.models.language.said_start import Said, regressed

HEADS = 8
START = 0.02  # root mean square of weights that begin with a regression
SMALLEST_BATCH = 2  # from which a mean and a deviation can be taken


class PerPatch(nn.Module):
    """Each patch to a vector by itself: `linear` (LLaVA, Liu et al. 2023) or `mlp` of two layers (LLaVA 1.5)."""

    def __init__(self, width_in: int, width: int, deep: bool) -> None:
        super().__init__()
        rest = [nn.GELU(), nn.Linear(width, width)] if deep else []
        self.layers = nn.Sequential(nn.Linear(width_in, width), *rest)

    def count(self, patches: int) -> int:
        return patches

    def forward(self, patches: Tensor) -> Tensor:
        """(N, T, D) to (N, T, width)."""
        found: Tensor = self.layers(patches)
        return found


class Prefix(nn.Module):
    """The mean over all patches to `tokens` vectors (Tsimpoukelli et al. 2021, section 3)."""

    def __init__(self, width_in: int, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.layer = tokens, nn.Linear(width_in, tokens * width)

    def count(self, patches: int) -> int:
        return self.tokens

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, 1, D), the means, to (N, tokens, width)."""
        found: Tensor = self.layer(pooled[:, 0]).unflatten(1, (self.tokens, -1))
        return found


class Asking(nn.Module):
    """A layer of learned queries that read the patches.

    perceiver: keys and values are patches and queries together (Alayrac et al. 2022, figure 5). qformer: queries attend
    to each other, then to the patches (Li et al. 2023, figure 2, without its texts).
    """

    def __init__(self, width: int, both: bool) -> None:
        super().__init__()
        self.both = both
        self.norm_queries, self.norm_patches = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.norm_own = None if both else nn.LayerNorm(width)
        self.own = None if both else nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        if self.own is not None and self.norm_own is not None:
            own = self.norm_own(queries)
            queries = queries + self.own(own, own, own, need_weights=False)[0]
        asked, read = self.norm_queries(queries), self.norm_patches(patches)
        if self.both:
            read = torch.cat([read, asked], 1)
        queries = queries + self.cross(asked, read, read, need_weights=False)[0]
        found: Tensor = queries + self.perceptron(queries)
        return found


class Queries(nn.Module):
    """`tokens` learned queries through layers that read the patches, then to the language model's width."""

    def __init__(self, width_in: int, width: int, tokens: int, layers: int, both: bool) -> None:
        super().__init__()
        inner = HEADS * max(1, min(width_in, width) // HEADS)
        self.queries = nn.Parameter(torch.randn(tokens, inner) * 0.02)
        self.enter = nn.Linear(width_in, inner)
        self.layers = nn.ModuleList(Asking(inner, both) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, width))

    def count(self, patches: int) -> int:
        return len(self.queries)

    def forward(self, patches: Tensor) -> Tensor:
        """(N, T, D) to (N, tokens, width)."""
        read, queries = self.enter(patches), self.queries.expand(len(patches), -1, -1)
        for layer in self.layers:
            queries = layer(queries, read)
        found: Tensor = self.leave(queries)
        return found


class Projector(nn.Module):
    """What stands between a vision encoder and a language model."""

    name: str

    @abstractmethod
    def count(self, patches: int) -> int:
        """Vectors that an image of so many patches becomes."""


class Connector(Projector):
    """One of CONNECTORS between standardised patches and vectors of the size that the language model's own have.

    Patches (of `prefix` their mean) are standardised feature by feature, by running means and deviations over the
    training images: what all images share would drown what tells them apart. `scale` is learned and begins at `norm`,
    the root mean square of the vectors of tokens.
    """

    def __init__(self, name: str, width_in: int, width: int, tokens: int, norm: float, seed: int) -> None:
        super().__init__()
        if name not in CONNECTORS:
            raise RecipeError(f"no connector {name!r}; {nearest(name, CONNECTORS)}", where="adapter.options.connector")
        self.name, self._eps = name, 1e-6
        self.standard = nn.BatchNorm1d(width_in)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = CONNECTORS[name](width_in, width, tokens)
        self.scale = nn.Parameter(torch.tensor([norm]))

    def count(self, patches: int) -> int:
        """Vectors that an image of so many patches becomes."""
        inner: PerPatch | Prefix | Queries = self.inner  # type: ignore[assignment]
        return inner.count(patches)

    def start_from(self, images: Sequence[Tensor], said: Sequence[Said], seed: int) -> None:
        """Begin `prefix` with the regression of said_start.regressed on training images, each (T, D), and with their
        means and deviations."""
        assert isinstance(self.inner, Prefix)
        pooled = torch.stack([image.float().mean(0) for image in images])
        standard, layer = self.standard, self.inner.layer
        mean, variance = pooled.mean(0), pooled.var(0, correction=0)
        weights = regressed((pooled - mean) * torch.rsqrt(variance + standard.eps), said, layer.out_features, seed)
        with torch.no_grad():
            assert standard.running_mean is not None and standard.running_var is not None
            standard.running_mean.copy_(mean)
            standard.running_var.copy_(variance)
            layer.weight.copy_(weights * START)
            layer.bias.zero_()

    def forward(self, patches: Tensor) -> Tensor:
        """(N, T, D) to (N, count(T), width)."""
        patches = patches.float()
        if isinstance(self.inner, Prefix):
            patches = patches.mean(1, keepdim=True)
        flat = patches.flatten(0, 1)
        training = self.standard.training and len(flat) >= SMALLEST_BATCH
        standard = self.standard
        if self.standard.training and not training:
            flat = functional.batch_norm(
                flat, standard.running_mean, standard.running_var, standard.weight, standard.bias, False
            )
        else:
            flat = standard(flat)
        found: Tensor = self.inner(flat.unflatten(0, patches.shape[:2]))
        return found * torch.rsqrt(found.square().mean(-1, keepdim=True) + self._eps) * self.scale


CONNECTORS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": lambda width_in, width, tokens: PerPatch(width_in, width, deep=False),
    "mlp": lambda width_in, width, tokens: PerPatch(width_in, width, deep=True),
    "prefix": lambda width_in, width, tokens: Prefix(width_in, width, tokens),
    "perceiver": lambda width_in, width, tokens: Queries(width_in, width, tokens, layers=2, both=True),
    "qformer": lambda width_in, width, tokens: Queries(width_in, width, tokens, layers=2, both=False),
}
