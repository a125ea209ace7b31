"""Prompts from masks, moved and shaken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.nn import prompts
from medvfm.nn.prompts import Prompts


def test_a_box_names_the_first_and_last_column_and_row():
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3:10] = True
    assert prompts.box_of(mask).tolist() == [3, 2, 9, 4]
    assert prompts.box_of(np.zeros((3, 3), bool)) is None
    mask[:] = False
    mask[7, 8] = True
    assert prompts.box_of(mask).tolist() == [8, 7, 8, 7]


def test_boxes_of_a_label_map_are_those_of_its_masks():
    labels = np.random.default_rng(0).choice([0, 0, 0, 2, 5], (20, 30))
    values, boxes = prompts.boxes_of(labels)
    assert values.tolist() == [2, 5]
    for value, box in zip(values, boxes, strict=True):
        assert box.tolist() == prompts.box_of(labels == value).tolist()
    values, boxes = prompts.boxes_of(np.zeros((4, 4), int))
    assert (len(values), boxes.shape) == (0, (0, 4))


def test_the_next_click_is_the_centre_of_the_largest_wrong_region():
    """The centre by a search over every pixel for the one whose nearest outside pixel is furthest."""
    truth, mask = np.zeros((24, 24), bool), np.zeros((24, 24), bool)
    truth[2:13, 3:10] = True
    mask[2:4, 3:10] = True
    mask[18:22, 18:22] = True  # spurious, smaller than what is missed
    x, y, label = prompts.next_click(truth, mask)
    wrong = truth & ~mask
    outside = np.argwhere(~np.pad(wrong, 1)) - 1
    depth = {(i, j): np.sqrt(((outside - (i, j)) ** 2).sum(1).min()) for i, j in np.argwhere(wrong)}
    assert label == prompts.POSITIVE
    assert depth[int(y), int(x)] == max(depth.values())
    mask = truth.copy()
    mask[18:22, 18:22] = True
    x, y, label = prompts.next_click(truth, mask)
    assert label == prompts.NEGATIVE and 18 <= x < 22 and 18 <= y < 22
    assert prompts.next_click(truth, truth) is None


def test_a_click_on_a_structure_at_the_border_is_on_it():
    mask = np.ones((5, 7), bool)
    assert prompts.centre_of(mask) == (2.0, 2.0)
    mask[:, :6] = False
    x, y = prompts.centre_of(mask)
    assert mask[int(y), int(x)]


def test_shaken_boxes_move_by_no_more_than_said_and_stay_in_the_picture():
    rng = np.random.default_rng(0)
    boxes = np.repeat(np.array([[10.0, 20, 50, 60], [0, 0, 5, 3]], np.float32), 500, axis=0)
    moved = prompts.jittered(boxes, (70, 80), rng, px=5)
    assert np.abs(moved - boxes).max() <= 5
    assert np.abs(moved - boxes).max() > 4.9
    assert (moved[:, 2:] >= moved[:, :2]).all() and moved.min() >= 0
    assert moved[:, 0].max() < 80 and moved[:, 1].max() < 70
    shares = np.abs(prompts.jittered(boxes, (70, 80), rng, share=0.1) - boxes)
    assert shares[500:, 0].max() <= 0.6 and shares[500:, 1].max() <= 0.4
    both = np.abs(prompts.jittered(boxes, (70, 80), rng, share=0.1, px=2) - boxes)
    assert both[:500].max() <= 2 and both[500:].max() <= 0.6
    assert np.array_equal(prompts.jittered(boxes, (70, 80), rng), boxes)


def test_the_same_seed_shakes_alike():
    boxes = np.array([[10.0, 20, 50, 60]], np.float32)
    first, second = (prompts.jittered(boxes, (90, 90), np.random.default_rng(3), px=9) for _ in range(2))
    assert np.array_equal(first, second)


def test_parts_of_prompts_belong_together():
    with pytest.raises(ValueError, match="points and their labels"):
        Prompts(torch.zeros(1), points_px=torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="boxes_px of 2 objects"):
        Prompts(torch.zeros(1), boxes_px=torch.zeros(2, 4))
    some = Prompts(torch.tensor([0, 1]), boxes_px=torch.arange(8.0).view(2, 4))[1:]
    assert len(some) == 1 and some.boxes_px.tolist() == [[4, 5, 6, 7]]
    assert some.scaled(2.0, 0.5).boxes_px.tolist() == [[8, 2.5, 12, 3.5]]


def test_an_inside_point_is_inside():
    mask = np.zeros((6, 6), bool)
    mask[4, 1] = mask[2, 5] = True
    drawn = {prompts.inside_point(mask, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {(1.0, 4.0), (5.0, 2.0)}
