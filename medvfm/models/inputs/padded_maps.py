"""Maps of a picture that was padded to a model's size, brought back to the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medvfm.models.inputs.contract import InputContract


def unpadded(maps: Tensor, contract: InputContract, shape: tuple[int, int]) -> Tensor:
    """Maps (N, K, h, w) over the whole of `contract.size_px` to (N, K, H, W) of the picture of `shape` in it.

    Linear between the centres of cells; beyond the outermost cells that hold a part of the picture their values go on,
    so that what lies in the borders alone is not mixed in. `contract.resize` is `pad`.
    """
    top, left, height, width = contract.padded_place(shape)
    rows = _weights(maps.shape[-2], contract.size_px[0], top, height, shape[0]).to(maps)
    columns = _weights(maps.shape[-1], contract.size_px[1], left, width, shape[1]).to(maps)
    return rows @ maps @ columns.T


def _weights(cells: int, side_px: int, start_px: int, inside_px: int, length: int) -> Tensor:
    """(length, cells): what each cell of a side of `side_px` gives to each of the `length` pixels of a picture that
    takes `inside_px` from `start_px` on. Rows sum to 1."""
    first = math.floor(start_px * cells / side_px)
    last = math.ceil((start_px + inside_px) * cells / side_px) - 1
    centres = start_px + (torch.arange(length, dtype=torch.float64) + 0.5) * inside_px / length
    places = (centres * cells / side_px - 0.5).clamp(first, last)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)
