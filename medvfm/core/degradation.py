"""How true images are spoilt, so that a model can be asked to restore them: noise at a level, or lower resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["gaussian", "rician", "lower_resolution"]


@dataclass(frozen=True)
class Degradation:
    """Pixels (C, H, W) in [0, 1] to degraded ones of the same shape, cut to [0, 1].

    gaussian          x + level · n, n standard normal
    rician            sqrt((x + level · n)² + (level · m)²), the noise of magnitude images of MR; Gudbjartsson and Patz
                      1995
    lower_resolution  the mean of each block of factor x factor pixels, in every pixel of the block
    """

    kind: Kind = "gaussian"
    level: float = 0.1
    factor: int = 2

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.kind == "lower_resolution":
            return blocks(pixels, self.factor)
        noise = self.level * rng.standard_normal((2, *pixels.shape))
        found = pixels + noise[0] if self.kind == "gaussian" else np.hypot(pixels + noise[0], noise[1])
        return np.asarray(found.clip(0, 1), dtype=np.float32)

    def of_case(self, pixels: np.ndarray, case_id: str) -> np.ndarray:
        """The degraded image of a case: the same whenever it is asked for."""
        return self(pixels, np.random.default_rng([7, *case_id.encode()]))

    def key(self) -> str:
        """Everything that the result depends on besides the pixels."""
        return self.words

    @property
    def words(self) -> str:
        """`gaussian noise of 0.1`, `resolution lower by 4`."""
        if self.kind == "lower_resolution":
            return f"resolution lower by {self.factor}"
        return f"{'Gaussian' if self.kind == 'gaussian' else 'Rician'} noise of {self.level:g}"


def coarse(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(C, H / factor, W / factor): means of blocks."""
    channels, height, width = pixels.shape
    cut = pixels.reshape(channels, height // factor, factor, width // factor, factor)
    return np.asarray(cut.mean(axis=(2, 4)), dtype=np.float32)


def blocks(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(C, H, W): in every pixel the mean of its block."""
    return coarse(pixels, factor).repeat(factor, axis=1).repeat(factor, axis=2)
