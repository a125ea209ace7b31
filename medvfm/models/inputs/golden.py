"""A golden tensor: one picture that anybody can make, and what a contract turns it into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from medvfm.models.inputs.contract import InputContract

SHAPE = (300, 260)
FORMULA = "value(row, column) = (row * 7 + column * 13 + (row // 20 + column // 20) % 2 * 120) % 256, 300 rows of 260"


@dataclass(frozen=True)
class Golden:
    """The picture (rows, columns) uint8, the model's input (channels, h, w), and a sum over the latter's 1000ths."""

    picture: np.ndarray
    tensor: np.ndarray
    sha256: str

    def lines(self) -> list[str]:
        """What another program can compare its own tensor with."""
        channels, height, width = self.tensor.shape
        rows = [f"golden picture: {FORMULA}", f"golden tensor: {channels} x {height} x {width}, float32"]
        rows += [
            f"  channel {n}: mean {part.mean():.4f}, deviation {part.std():.4f}, minimum {part.min():.4f}, maximum "
            f"{part.max():.4f}, first row {', '.join(f'{v:.3f}' for v in part[0, :4])} ..."
            for n, part in enumerate(self.tensor)
        ]
        return [*rows, f"  sha256 of its values in 1000ths, as 32-bit integers: {self.sha256}"]


def golden(contract: InputContract) -> Golden:
    """The golden picture through a contract, on the CPU."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    picture = ((rows * 7 + columns * 13 + (rows // 20 + columns // 20) % 2 * 120) % 256).astype(np.uint8)
    with torch.inference_mode():
        tensor = contract.apply(torch.from_numpy(picture)[None, None].float() / 255)[0].numpy()
    whole = np.rint(tensor * 1000).astype("<i4")
    return Golden(picture, tensor, hashlib.sha256(whole.tobytes()).hexdigest())
