"""What a generator from scratch makes that restores images: the difference of the true image from the degraded one.

A network that has learned nothing yet then answers with the degraded image less its usual bias, in which every lesion
is still there; one that makes the whole image anew must first learn to draw them. Zhang et al. 2017 (IEEE Transactions
on Image Processing 26, 3142) for denoising; Yue et al. 2023 (ResShift) for diffusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-3  # of a deviation beside the largest: a channel that hardly differs is not blown up


class Difference(nn.Module):
    """Latents (B, K, ...) of true and of degraded images to differences of mean 0 and deviation 1 in every channel.

    shift, scale (K,)  mean and deviation of the difference in training; given (K,) deviation of degraded latents
    """

    shift: Tensor
    scale: Tensor
    given: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("given", torch.ones(channels))

    def fit(self, clean: Tensor, given: Tensor) -> None:
        """To latents (n, K, ...) of training images, true and degraded."""
        apart = _by_channel(clean - given)
        self.shift.copy_(apart.mean(1))
        for buffer, values in ((self.scale, apart), (self.given, _by_channel(given))):
            deviation = values.std(1, unbiased=False)
            buffer.copy_(deviation.clamp(min=LEAST * max(float(deviation.max()), 1e-12)))

    def read(self, given: Tensor) -> Tensor:
        """Degraded latents as the denoiser reads them."""
        return given / _along(self.given, given)

    def of(self, clean: Tensor, given: Tensor) -> Tensor:
        return (clean - given - _along(self.shift, given)) / _along(self.scale, given)

    def restored(self, difference: Tensor, given: Tensor) -> Tensor:
        """True latents from what `of` gave."""
        return given + difference * _along(self.scale, given) + _along(self.shift, given)


def _by_channel(latents: Tensor) -> Tensor:
    return latents.double().transpose(0, 1).flatten(1)


def _along(values: Tensor, latents: Tensor) -> Tensor:
    return values.to(latents).view(1, -1, *[1] * (latents.ndim - 2))
