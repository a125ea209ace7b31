"""The small pictures that the report shows: what the model was surest of and wrong about."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from medvfm.core.array import Array
from medvfm.core.protocols import Points, Record
from medvfm.tasks.classification.scores import ScoreTable

EACH = 4  # of false positives and of false negatives, for each target
TARGETS = 3
TILES = 6  # slices of a volume on one picture
SIDE_PX = 160


def write(
    folder: Path,
    test: ScoreTable,
    points: Points,
    pixels: Callable[[str], Array],
) -> list[Record]:
    """Pictures of the most confident mistakes, and what the report says about each; names hold no patient data.

    `pixels` gives the prepared picture (S, C, H, W) of a unit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Record] = []
    for column, target in enumerate(test.targets[:TARGETS]):
        cut = points.thresholds.get(("decision", target))
        if cut is None or np.isnan(cut).any():
            continue
        margin = test.scores[:, column] - cut[test.fold]
        for kind, label, order in (("false positive", 0, -margin), ("false negative", 1, margin)):
            wrong = (test.truth[:, column] == label) & ((margin >= 0) == (label == 0))
            for row in [r for r in np.argsort(order, kind="stable") if wrong[r]][:EACH]:
                name = f"{len(found):03d}.png"
                stack = pixels(test.ids[row])
                (folder / name).write_bytes(_png(stack))
                found.append(
                    {
                        "file": f"previews/{name}",
                        "target": target,
                        "truth": label,
                        "score": float(test.scores[row, column]),
                        "kind": kind,
                        "caption": f"case {row + 1} of {len(test.ids)} test cases",
                    }
                )
    return found


def _png(stack: Array) -> bytes:
    """(S, C, H, W) in [0, 1] as one picture; a volume shows slices spread over the stack, side by side."""
    chosen = np.unique(np.linspace(0, len(stack) - 1, min(TILES, len(stack))).round().astype(int))
    side = SIDE_PX if len(chosen) > 1 else 2 * SIDE_PX
    tiles = [_tile(stack[s].astype(np.float32), side) for s in chosen]
    columns = 3 if len(tiles) > 3 else len(tiles)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.concatenate([np.concatenate(tiles[r : r + columns], 1) for r in range(0, len(tiles), columns)], 0)
    out = io.BytesIO()
    Picture.fromarray(sheet).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _tile(picture: Array, side: int) -> Array:
    channels = np.repeat(picture, 3, axis=0) if picture.shape[0] == 1 else picture[:3]
    pixels = (channels.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
    return np.asarray(Picture.fromarray(pixels).resize((side, side), Picture.Resampling.BILINEAR))
