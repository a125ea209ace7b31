"""Automatic masks: what of the overlapping ones is kept."""

from __future__ import annotations

import pytest
import torch

from medvfm.models.sam.automatic_masks import PointGrid, automatic_masks, boxes_of, non_maximum_suppression
from medvfm.models.sam.load import load_segmenter


def test_suppression_keeps_what_torchvision_keeps():
    nms = pytest.importorskip("torchvision.ops").nms
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 2 + torch.rand(200, 2, generator=generator) * 25], 1)
    scores = torch.rand(200, generator=generator)
    for overlap in (0.3, 0.7):
        assert non_maximum_suppression(boxes, scores, overlap).tolist() == nms(boxes, scores, overlap).tolist()
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).tolist() == []


def test_boxes_are_outer_edges():
    masks = torch.zeros(2, 9, 12, dtype=torch.bool)
    masks[0, 2:5, 3:10] = True
    masks[1, 8, 11] = True
    assert boxes_of(masks).tolist() == [[3, 2, 10, 5], [11, 8, 12, 9]]


def test_each_kept_mask_passes_the_thresholds_and_lies_apart():
    segmenter = load_segmenter("tiny")  # untrained: a disc around each point
    embeddings = segmenter.encode(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
    grid = PointGrid(points=8, iou=0.0, stability=0.2, nms=0.3)
    logits = automatic_masks(segmenter, embeddings, grid, at_once=20)
    assert 3 < len(logits) < 64
    boxes = boxes_of(logits > 0)
    assert len(non_maximum_suppression(boxes, torch.ones(len(boxes)), grid.nms)) == len(boxes)
    assert len(automatic_masks(segmenter, embeddings, PointGrid(points=8, iou=1.0))) == 0
    assert len(automatic_masks(segmenter, embeddings, PointGrid(points=8, iou=0.0, stability=0.2, largest=0.01))) == 0
