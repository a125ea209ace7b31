"""The small pictures that the report shows: what the model was surest of and wrong about."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from medvfm.core.array import Array
from medvfm.core.image import Image
from medvfm.core.protocols import Points, Record
from medvfm.io.rendering import windowing
from medvfm.tasks.classification.scores import ScoreTable

RANDOM = 6  # cases of the first target that chance chose: mistakes alone would tell nothing of the others
SEED = 0
EACH = 4  # of false positives and of false negatives, for each target
TARGETS = 3
TILES = 6  # slices of a volume on one picture
SIDE_PX = 160
WHOLE_PX = 320  # the longest side of a picture that is shown whole
DASH_PX = 5
FRAME = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class CasePicture:
    """What is shown of a case: pixels (S, C, H, W) in [0, 1].

    seen   share of (height, width) that the model saw
    sides  letters of the left and the right edge, where the file says them
    """

    pixels: Array
    seen: tuple[float, float] = (1.0, 1.0)
    sides: tuple[str, str] | None = None


def write(
    folder: Path,
    test: ScoreTable,
    points: Points,
    look: Callable[[str], CasePicture],
) -> list[Record]:
    """Pictures of the most confident mistakes and of random cases, and what the report says about each; names hold no
    patient data.

    `look` gives the picture of a unit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Record] = []

    def add(row: int, column: int, kind: str) -> None:
        name = f"{len(found):03d}.png"
        shown = look(test.ids[row])
        (folder / name).write_bytes(_png(shown))
        truth = test.truth[row, column]
        found.append(
            {
                "file": f"previews/{name}",
                "target": test.targets[column],
                "truth": int(truth) if truth in (0, 1) else float(truth),
                "score": float(test.scores[row, column]),
                "kind": kind,
                "place": row + 1,
                "caption": f"case {row + 1} of {len(test.ids)} test cases",
                "cropped": shown.seen != (1.0, 1.0),
                "sides": shown.sides is not None,
            }
        )

    for column, target in enumerate(test.targets[:TARGETS]):
        cut = points.thresholds.get(("decision", target))
        if cut is None or np.isnan(cut).any():
            continue
        margin = test.scores[:, column] - cut[test.fold]
        for kind, label, order in (("false positive", 0, -margin), ("false negative", 1, margin)):
            wrong = (test.truth[:, column] == label) & ((margin >= 0) == (label == 0))
            for row in [int(r) for r in np.argsort(order, kind="stable") if wrong[r]][:EACH]:
                add(row, column, kind)
    known = np.flatnonzero(~np.isnan(test.truth[:, 0]))
    for row in np.random.default_rng(SEED).permutation(known)[:RANDOM]:
        add(int(row), 0, "random")
    return found


def whole(image: Image, intensity: windowing.Rule, seen: tuple[float, float]) -> CasePicture:
    """A picture as it is stored, whole; R and L where its file says which sides are the patient's."""
    toward = image.header.get("patient_orientation")
    across = str(toward[0])[:1] if isinstance(toward, list | tuple) and toward else ""
    sides = {"L": ("R", "L"), "R": ("L", "R")}.get(across)
    return CasePicture(windowing.slice_pictures(image, intensity=intensity), seen, sides)


def _whole_png(look: CasePicture) -> bytes:
    """Its aspect ratio is kept; a dashed frame shows what the model saw where it did not see all."""
    channels, height, width = look.pixels.shape[1:]
    scale = WHOLE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = (look.pixels[0].astype(np.float32).transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
    flat = Picture.fromarray(pixels[..., 0] if channels == 1 else pixels[..., :3])
    sheet = flat.convert("RGB").resize(size, Picture.Resampling.BILINEAR)
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    if look.seen != (1.0, 1.0):
        top, left = ((1 - share) / 2 * side for share, side in zip(look.seen, (size[1], size[0]), strict=True))
        _dashed(brush, (left, top, size[0] - 1 - left, size[1] - 1 - top))
    for letter, at, anchor in zip(
        look.sides or (), ((5, size[1] / 2), (size[0] - 5, size[1] / 2)), ("lm", "rm"), strict=False
    ):
        brush.text(at, letter, fill=(235, 235, 235), font=font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    out = io.BytesIO()
    sheet.save(out, format="PNG", compress_level=4)
    return out.getvalue()


def _dashed(brush: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    for x in np.arange(left, right, 2 * DASH_PX):
        for y in (top, bottom):
            brush.line([(x, y), (min(x + DASH_PX, right), y)], fill=FRAME, width=1)
    for y in np.arange(top, bottom, 2 * DASH_PX):
        for x in (left, right):
            brush.line([(x, y), (x, min(y + DASH_PX, bottom))], fill=FRAME, width=1)


def _png(look: CasePicture) -> bytes:
    """(S, C, H, W) in [0, 1] as one picture; a volume shows slices spread over the stack, side by side."""
    stack = look.pixels
    if len(stack) == 1:
        return _whole_png(look)
    chosen = np.unique(np.linspace(0, len(stack) - 1, min(TILES, len(stack))).round().astype(int))
    side = SIDE_PX if len(chosen) > 1 else 2 * SIDE_PX
    tiles = [_tile(stack[s].astype(np.float32), side) for s in chosen]
    columns = 3 if len(tiles) > 3 else len(tiles)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.concatenate([np.concatenate(tiles[r : r + columns], 1) for r in range(0, len(tiles), columns)], 0)
    out = io.BytesIO()
    Picture.fromarray(sheet).save(out, format="PNG", compress_level=4)
    return out.getvalue()


def _tile(picture: Array, side: int) -> Array:
    channels = np.repeat(picture, 3, axis=0) if picture.shape[0] == 1 else picture[:3]
    pixels = (channels.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
    return np.asarray(Picture.fromarray(pixels).resize((side, side), Picture.Resampling.BILINEAR))
