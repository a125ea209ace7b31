"""Automatic mask generation: prompt with a grid of points, then non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from medvfm.models.sam.model import ImageEmbeddings, SamModel
from medvfm.nn.prompts import Prompts


@dataclass(frozen=True)
class PointGrid:
    """The grid of point prompts and the filters of the masks; Kirillov et al. 2023, appendix B, with their defaults.

    points     along each side
    iou        least IoU that the model predicts for a mask
    stability  least IoU of the mask above logit `offset` with that above its negative
    nms        of two masks whose boxes have a larger IoU, the one of the higher predicted IoU is kept
    largest    share of the picture: larger masks are background
    """

    points: int = 32
    iou: float = 0.88
    stability: float = 0.95
    offset: float = 1.0
    nms: float = 0.7
    largest: float = 0.9


@torch.inference_mode()
def automatic_masks(
    segmenter: SamModel, embeddings: ImageEmbeddings, grid: PointGrid, at_once: int = 64
) -> torch.Tensor:
    """(M, H, W) logits of the objects of one encoded picture, by descending predicted IoU."""
    height, width = embeddings.original_size_px
    steps = (np.arange(grid.points) + 0.5) / grid.points
    places = torch.tensor([[[x * width - 0.5, y * height - 0.5]] for y in steps for x in steps], dtype=torch.float32)
    kept, scores, boxes = [], [], []
    for start in range(0, len(places), at_once):
        points = places[start : start + at_once]
        prompts = Prompts(torch.zeros(len(points), dtype=torch.long), None, points, torch.ones(points.shape[:2]))
        found = segmenter.decode(embeddings, prompts)
        above, within = found.logits > grid.offset, found.logits > -grid.offset
        stability = above.sum((1, 2)) / within.sum((1, 2)).clamp_min(1)
        masks = found.logits > 0
        share = masks.float().mean((1, 2))
        good = (found.iou >= grid.iou) & (stability >= grid.stability) & (share > 0) & (share <= grid.largest)
        kept.append(found.logits[good].cpu())
        scores.append(found.iou[good].cpu())
        boxes.append(boxes_of(masks[good]).cpu())
        logits, score, box = torch.cat(kept), torch.cat(scores), torch.cat(boxes)
        # after each batch, so that memory holds only the masks that are kept
        best = non_maximum_suppression(box, score, grid.nms)
        kept, scores, boxes = [logits[best]], [score[best]], [box[best]]
    return kept[0]


def boxes_of(masks: torch.Tensor) -> torch.Tensor:
    """(M, 4) outer edges x0, y0, x1, y1 of masks (M, H, W) that are not empty."""
    across, down = masks.any(1), masks.any(2)
    x0, y0 = across.float().argmax(1), down.float().argmax(1)
    x1 = across.shape[1] - across.flip(1).float().argmax(1)
    y1 = down.shape[1] - down.flip(1).float().argmax(1)
    return torch.stack([x0, y0, x1, y1], 1).float()


def non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Rows that are kept, by descending score: each unless a kept box of a higher score has an IoU above `overlap`."""
    order = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for row in order.tolist():
        if kept:
            others = boxes[kept]
            low, high = torch.maximum(others[:, :2], boxes[row, :2]), torch.minimum(others[:, 2:], boxes[row, 2:])
            both = (high - low).clamp_min(0).prod(1)
            if bool((both / (areas[kept] + areas[row] - both).clamp_min(1e-6) > overlap).any()):
                continue
        kept.append(row)
    return torch.tensor(kept, dtype=torch.long)
