"""Training examples of a promptable segmenter: a picture, objects in it, and prompts as a person would give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medvfm.core.item import Item
from medvfm.core.protocols import Augment
from medvfm.models.sam.frame import SamFrame
from medvfm.models.sam.prompt_sources import structures
from medvfm.nn import prompts


@dataclass(frozen=True)
class ExampleSettings:
    """How training examples are sampled.

    objects       at most, of one picture
    crop_px       side of the part of a picture that is shown; None: all of it
    exact         share of boxed objects whose box fits
    jitter_share, jitter_px  how far the sides of the other boxes are off at most, of the box's side and in pixels
    points        share of objects that are prompted by points instead of a box
    per           `class` or `component`, as in prompt_sources.structures
    classes       number of classes that are all segmented without prompts; 0: objects are prompted
    """

    kind: str
    objects: int = 8
    crop_px: int | None = None
    exact: float = 0.6
    jitter_share: float = 0.1
    jitter_px: float = 20.0
    points: float = 0.2
    per: str = "class"
    classes: int = 0


def draw(
    item: Item, rng: np.random.Generator, augment: Augment, how: ExampleSettings, frame: SamFrame
) -> dict[str, Any]:
    """picture (C, H, W) float32; masks (M, H, W) of bool; boxes (M, 4), NaN where there is none; points (M, P, 3) with
    labels, -1 where there is none. Without prompts the masks are those of the classes, (K, H, W)."""
    assert item.truth is not None
    s = _slice(item.truth, rng, empty_too=how.classes > 0)
    pixels, labels = np.asarray(item.pixels[:, s], np.float32), np.asarray(item.truth[..., s, :, :])
    if how.crop_px is not None:
        pixels = frame.in_range(pixels)
        pixels, labels = _cropped(pixels, labels, how.crop_px, rng)
    pixels, labels = augment(pixels, labels)
    if how.classes:
        values = range(1, how.classes + 1)
        masks = labels > 0 if labels.ndim == 3 else np.stack([labels == v for v in values])
        return {"picture": np.ascontiguousarray(pixels), "masks": masks, "ranged": how.crop_px is not None}
    found = structures(labels, how.kind, how.per)
    if len(found) > how.objects:
        found = [found[i] for i in rng.permutation(len(found))[: how.objects]]
    sampled = [_prompt(mask, rng, how) for _, mask in found]
    height, width = labels.shape[-2:]
    return {
        "picture": np.ascontiguousarray(pixels),
        "masks": np.array([m for _, m in found], bool).reshape(-1, height, width),
        "boxes": np.array([b for b, _ in sampled], np.float32).reshape(-1, 4),
        "points": np.array([p for _, p in sampled], np.float32).reshape(-1, POINTS, 3),
        "ranged": how.crop_px is not None,
    }


POINTS = 3


def _slice(truth: np.ndarray, rng: np.random.Generator, *, empty_too: bool) -> int:
    """A slice that holds something, as long as there is one; a third of all are any slice where empty ones count."""
    count = truth.shape[-3]
    if count == 1 or (empty_too and rng.random() < 1 / 3):
        return int(rng.integers(count))
    flat = truth.any(0) if truth.ndim == 4 else truth
    held = np.flatnonzero(flat.reshape(count, -1).any(1))
    return int(rng.choice(held)) if len(held) else int(rng.integers(count))


def _cropped(
    pixels: np.ndarray, labels: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square part; of several the first that holds something."""
    height, width = labels.shape[-2:]
    for _ in range(5):
        top, left = int(rng.integers(max(0, height - side) + 1)), int(rng.integers(max(0, width - side) + 1))
        part = labels[..., top : top + side, left : left + side]
        if part.any():
            break
    return pixels[:, top : top + side, left : left + side], part


def _prompt(mask: np.ndarray, rng: np.random.Generator, how: ExampleSettings) -> tuple[np.ndarray, np.ndarray]:
    """A box (4,), or up to three points (3, 3) of x, y and label: first on the object, the last perhaps beside it."""
    no_box, no_points = (
        np.full(4, np.nan, np.float32),
        np.tile(np.array([0, 0, prompts.NO_POINT], np.float32), (POINTS, 1)),
    )
    box = prompts.box_of(mask)
    assert box is not None
    if rng.random() >= how.points:
        if rng.random() < how.exact:
            return box, no_points
        size = (mask.shape[0], mask.shape[1])
        return prompts.jittered(box[None], size, rng, share=how.jitter_share, px=how.jitter_px)[0], no_points
    count = int(rng.integers(1, POINTS + 1))
    for place in range(count):
        first = place == 0 and rng.random() < 0.5
        x, y = prompts.centre_of(mask) if first else prompts.inside_point(mask, rng)
        no_points[place] = (x, y, prompts.POSITIVE)
    beside = _beside(mask, box, rng)
    if count == POINTS and beside is not None:
        no_points[-1] = (*beside, prompts.NEGATIVE)
    return no_box, no_points


def _beside(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[float, float] | None:
    """(x, y) off the object and within a box's width of it; None where there is no such place."""
    x0, y0, x1, y1 = box.astype(int)
    across, down = x1 - x0 + 1, y1 - y0 + 1
    top, left = max(0, y0 - down // 2), max(0, x0 - across // 2)
    outside = ~mask[top : y1 + down // 2 + 1, left : x1 + across // 2 + 1]
    if not outside.any():
        return None
    x, y = prompts.inside_point(outside, rng)
    return x + left, y + top
