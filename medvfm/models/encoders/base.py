"""An image encoder: any backbone behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medvfm.core.errors import RecipeError
from medvfm.models import structure
from medvfm.models.gradients import unread
from medvfm.models.inputs.contract import InputContract


@dataclass(frozen=True)
class Features:
    """The encoder's output for N pictures.

    cls      (N, D) the model's own summary: its class token, or what its attention pooling gives; None if it has none.
             Virchow2's is (N, 2 D), class token and mean of the patches
    pooled   (N, D) mean over the patches
    patches  (N, D, h, w) last feature map, rows from top to bottom
    """

    cls: torch.Tensor | None
    pooled: torch.Tensor
    patches: torch.Tensor


class Encoder(nn.Module):
    """A backbone with its input contract. `read` and `levels` know how this family of backbones is called.

    `backbone` is the plain model of its library, so that a LoRA trained here loads onto that model there. It may be
    replaced by a peft wrapper of itself.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        read: Callable[[nn.Module, torch.Tensor], Features],
        levels: Callable[[nn.Module, torch.Tensor], list[torch.Tensor]],
        contract: InputContract,
        width: int,
        summary_width: int | None = None,
        name: str,
        weights_record: dict[str, Any],
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.contract, self.width, self.name, self.weights_record = contract, width, name, weights_record
        self.summary_width = summary_width or width  # of `cls`
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._read, self._levels = read, levels
        self.staged = False  # whether more than one stage of training has changed it
        self._fixed = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor) -> Features:
        """pixels (N, channels, h, w): what `contract.apply` gives."""
        return self._read(self.backbone, pixels.contiguous(memory_format=self.memory_format))

    def pyramid(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Four feature maps (N, C_l, H_l, W_l), first to last.

        CNN and Swin: four scales, fine to coarse. ViT: four blocks evenly spaced, all at the patches' resolution.
        """
        return self._levels(self.backbone, pixels.contiguous(memory_format=self.memory_format))

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, first to last."""
        return structure.blocks(self.backbone)

    def last_blocks(self, count: int) -> list[nn.Module]:
        """The last `count` blocks and what comes after them (final norm, pooling head)."""
        found = self.blocks()
        if not 1 <= count <= len(found):
            raise RecipeError(
                f"{self.name} has {len(found)} blocks, not {count}",
                remedy=f"ask for 1 to {len(found)}" if found else "take another method",
            )
        return found[-count:] + structure.tail(self.backbone)

    def unused(self, read: Callable[[torch.Tensor], Sequence[torch.Tensor | None]] | None = None) -> list[nn.Parameter]:
        """Parameters of the backbone that training leaves alone: those that `read` of pixels never looks at (all
        features together where it is None), and those that the model itself fixes (MAE's sine positions).

        Found by a backward pass of one picture in evaluation mode. Modes, flags and gradients stay as they were.
        """
        named = list(self.backbone.named_parameters())
        pixels = torch.zeros(1, self.contract.channels, *self.contract.size_px, device=named[0][1].device)
        lost = set(unread(self, named, lambda: self._all_features(pixels) if read is None else read(pixels)))
        return [parameter for name, parameter in named if name in lost or name in self._fixed]

    def _all_features(self, pixels: torch.Tensor) -> list[torch.Tensor | None]:
        features = self(pixels)
        return [features.cls, features.pooled, features.patches]


def tokens_to_map(tokens: torch.Tensor, size_px: tuple[int, int], patch_px: tuple[int, int]) -> torch.Tensor:
    """Tokens (N, L, D), of which the last h * w are patches in rows, to a map (N, D, h, w)."""
    rows, columns = size_px[0] // patch_px[0], size_px[1] // patch_px[1]
    return tokens[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))


def evenly_spaced(count: int, wanted: int = 4) -> list[int]:
    """Indices of `wanted` of `count` blocks, the last one always among them: 12 gives 2, 5, 8, 11."""
    return sorted({max(0, round((step + 1) * count / wanted) - 1) for step in range(wanted)})


def block_outputs(blocks: list[nn.Module], run: Callable[[], object], indices: list[int]) -> list[torch.Tensor]:
    """What these blocks return while `run` is called; a block that returns a tuple gives its first element."""
    caught: dict[int, torch.Tensor] = {}

    def catch(index: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            caught[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [blocks[index].register_forward_hook(catch(index)) for index in indices]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [caught[index] for index in indices]
