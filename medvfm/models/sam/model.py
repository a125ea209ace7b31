"""Promptable segmentation model: an image is encoded once and decoded for any number of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from medvfm.models.sam.frame import SamFrame
from medvfm.nn.prompts import Prompts

OBJECTS_AT_ONCE = 16  # decoded together: memory, not results


class Parts(Protocol):
    """Image encoder, prompt encoder and mask decoder of a model, behind one interface for all libraries."""

    vision_encoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module
    width: int  # of a prompt token
    mask_side: int  # of a mask prompt; 0 where the model takes no mask prompts: they are ignored

    def beside_encoder(self) -> list[nn.Module]:
        """Layers of the decoder that `image` has applied to the feature maps already."""
        ...

    def noise(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Random feature maps (1, C, h, w) of the shapes that `image` gives."""
        ...

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature maps (N, C, h, w), fine ones first, from model input (N, 3, H, W)."""
        ...

    def masks(
        self,
        maps: tuple[torch.Tensor, ...],
        prompts_model_px: Prompts,
        tokens: torch.Tensor | None,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (M, K, h, w) and predicted IoU (M, K); K is 1 unless `multimask_output`.
        `tokens` (M, T, width) replace points and boxes."""
        ...


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """The image encoder's output for N pictures of one size.

    maps              feature maps (N, C, h, w), fine ones first
    original_size_px  (height, width) of the pictures
    """

    maps: tuple[torch.Tensor, ...]
    original_size_px: tuple[int, int]

    def __len__(self) -> int:
        return len(self.maps[0])

    def to(self, device: torch.device | str) -> ImageEmbeddings:
        return replace(self, maps=tuple(m.to(device).float() for m in self.maps))

    def arrays(self) -> list[np.ndarray]:
        """Half precision, for a cache."""
        return [m.detach().half().cpu().numpy() for m in self.maps]

    @classmethod
    def of_arrays(cls, arrays: Sequence[np.ndarray], original_size_px: tuple[int, int]) -> ImageEmbeddings:
        return cls(tuple(torch.from_numpy(np.array(a, dtype=np.float32)) for a in arrays), original_size_px)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Masks of M objects.

    logits         (M, H, W) at the size of the picture; above 0 is the object
    iou            (M,) the IoU with the truth that the model predicts
    low_res_masks  (M, h, w) the decoder's own logits, which may be its next mask prompt
    """

    logits: torch.Tensor
    iou: torch.Tensor
    low_res_masks: torch.Tensor


class SamModel(nn.Module):
    """Any model of the SAM family: `encode`, then `decode`. Prompts are in the frame of the original pictures."""

    def __init__(self, parts: Any, frame: SamFrame, *, name: str, weights_record: dict[str, Any]) -> None:
        super().__init__()
        self.parts: Any = parts
        self.frame, self.name, self.weights_record = frame, name, weights_record

    @property
    def device(self) -> torch.device:
        return next(self.parts.parameters()).device

    def encode(self, pictures: torch.Tensor, *, ranged: bool = False) -> ImageEmbeddings:
        """Pictures (N, 1 or 3, H, W) in [0, 1]; `ranged` as in SamFrame.pixels."""
        size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
        return ImageEmbeddings(self.parts.image(self.frame.pixels(pictures.to(self.device), ranged=ranged)), size)

    def decode(
        self,
        embeddings: ImageEmbeddings,
        prompts_original_px: Prompts,
        *,
        tokens: torch.Tensor | None = None,
        multimask_output: bool | None = None,
        training: bool = False,
    ) -> Decoded:
        """Masks of the prompted objects, OBJECTS_AT_ONCE at a time.

        tokens            (M, T, width) learned prompts in place of points and boxes
        multimask_output  decode several masks an object and keep the one of the highest predicted IoU; None: for
                          objects with a single point, as SAM's authors advise
        training          resize logits for every model, so that gradients do not vanish where a probability is near
                          0 or 1
        """
        prompts = self.frame.prompts(prompts_original_px.to(self.device), embeddings.original_size_px)
        side = self.parts.mask_side
        if prompts.masks is not None and prompts.masks.shape[-2:] != (side, side):
            masks = self.frame.mask_input(prompts.masks.float(), embeddings.original_size_px, side) if side else None
            prompts = replace(prompts, masks=masks)
        parts = []
        for start in range(0, len(prompts), OBJECTS_AT_ONCE):
            rows = slice(start, start + OBJECTS_AT_ONCE)
            parts.append(
                self._some(embeddings, prompts[rows], None if tokens is None else tokens[rows], multimask_output)
            )
        if not parts:
            empty = torch.zeros(0, *embeddings.original_size_px, device=self.device)
            return Decoded(empty, empty[:, 0, 0], empty)
        low_res_masks, iou = (torch.cat(found) for found in zip(*parts, strict=True))
        logits = self.frame.masks(low_res_masks, embeddings.original_size_px, as_logits=training)
        return Decoded(logits, iou, low_res_masks)

    def _some(
        self, embeddings: ImageEmbeddings, prompts: Prompts, tokens: torch.Tensor | None, multimask_output: bool | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if tokens is not None:
            return _best(*self.parts.masks(embeddings.maps, prompts, tokens, False))
        found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for rows, alike in _groups(prompts):
            several = (alike.boxes_px is None and _points(alike) == 1) if multimask_output is None else multimask_output
            found.append((rows, *_best(*self.parts.masks(embeddings.maps, alike, None, several))))
        order = torch.argsort(torch.cat([rows for rows, _, _ in found]))
        return torch.cat([low for _, low, _ in found])[order], torch.cat([iou for _, _, iou in found])[order]


def _groups(prompts: Prompts) -> list[tuple[torch.Tensor, Prompts]]:
    """Row numbers and prompts of objects with the same kinds of prompts: a box or none, and the number of points."""
    count, device = len(prompts), prompts.picture.device
    boxed = torch.zeros(count, dtype=torch.long, device=device)
    if prompts.boxes_px is not None:
        boxed = torch.isfinite(prompts.boxes_px).all(1).long()
    points = torch.zeros(count, dtype=torch.long, device=device)
    if prompts.point_labels is not None:
        points = (prompts.point_labels >= 0).sum(1)
    keys = boxed * (int(points.max()) + 1 if count else 1) + points
    found = []
    for key in keys.unique().tolist():
        rows = (keys == key).nonzero()[:, 0]
        alike = prompts[rows]
        if not boxed[rows[0]]:
            alike = replace(alike, boxes_px=None)
        used = int(points[rows[0]])
        if alike.points_px is not None and alike.point_labels is not None:
            first = (alike.point_labels < 0).long().argsort(stable=True, dim=1)[:, :used]  # padding comes last
            alike = replace(
                alike,
                points_px=alike.points_px.gather(1, first[..., None].expand(-1, -1, 2)) if used else None,
                point_labels=alike.point_labels.gather(1, first) if used else None,
            )
        found.append((rows, alike))
    return found


def _points(prompts: Prompts) -> int:
    return 0 if prompts.points_px is None else prompts.points_px.shape[1]


def _best(low_res_masks: torch.Tensor, iou: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, h, w) and (M,) of the masks (M, K, h, w) with the highest predicted IoU."""
    if low_res_masks.shape[1] == 1:
        return low_res_masks[:, 0], iou[:, 0]
    best = iou.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    return low_res_masks[rows, best], iou[rows, best]
