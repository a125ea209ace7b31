"""Pictures with mask outlines: truth solid, prediction dashed, a colour a structure; small images enlarged.

Outlines run along the edges of the voxels at the resolution of the screen, so that they are crisp and exact at any
magnification; the picture below them is interpolated, as viewers do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from medvfm.core import geometry
from medvfm.core.image import Image
from medvfm.io.rendering import contours, palette, windowing
from medvfm.io.rendering.palette import Colour

TRUTH, PREDICTION = palette.TRUTH, palette.PREDICTION  # of one structure, or of objects without names
LONGEST_PX = 480  # to which smaller pictures are enlarged
PANEL_PX = 340  # the longest side among three planes
_FINER = 3  # lines are rendered at that many times the resolution and averaged down
_LINE_PX, _HALO_PX, _DASH_PX, _GAP_PX = 1.8, 3.6, 7.0, 5.0
_FAINT, _FAINT_PX = 120, 1.0  # opacity and width of lines that a picture is not about
_HALO = (0, 0, 0, 110)  # a dark edge, without which a line is lost on bright tissue
_PEN_PER_PX = 1 / 600  # on larger pictures pens grow with the longest side
_SAMPLE = 1 << 20  # voxels that the middle of a structure is found from
_GAP, _STRIP, _MARGIN = 6, 24, 8  # pixels between panels, of the legend's lines, and around text
_INK, _DIM = (235, 235, 235), (170, 170, 170)
_ENDS = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}


@dataclass(frozen=True)
class Layer:
    """Labels (H, W), or (H, W, T) booleans that may overlap, and how they are rendered.

    colour  one for all labels; None gives each value its own (palette.label_colour)
    faint   thin and half transparent: beside what a picture is about
    """

    labels: np.ndarray
    colour: Colour | Mapping[int, Colour] | None = None
    dashed: bool = False
    faint: bool = False

    def regions(self) -> Iterator[tuple[np.ndarray, Colour]]:
        """The mask of each label that occurs, and its colour."""
        if self.labels.ndim == 3:
            values = [n + 1 for n in range(self.labels.shape[2]) if self.labels[..., n].any()]
        else:
            values = [int(v) for v in np.unique(self.labels) if v > 0]
        for value in values:
            mask = self.labels[..., value - 1] if self.labels.ndim == 3 else self.labels == value
            if self.colour is None:
                yield mask, palette.label_colour(value)
            elif isinstance(self.colour, Mapping):
                yield mask, self.colour[value]
            else:
                yield mask, self.colour

    def lines(self) -> Iterator[tuple[np.ndarray, Colour]]:
        """Outlines (n, 2) in corners of pixels, with their colours. A border in one colour is drawn once."""
        before = np.zeros(self.labels.shape[:2], bool)
        for mask, colour in self.regions():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            top, left = int(rows[0]), int(columns[0])
            part = mask[top : rows[-1] + 1, left : columns[-1] + 1]  # only where the mask is
            for line in contours.outlines(part):
                whole = line + np.array([left, top])
                shared = isinstance(self.colour, tuple) and self.labels.ndim == 2
                for piece in contours.not_beside(whole, before) if shared else [whole]:
                    yield piece, colour
            before |= mask


def overlay(
    picture: np.ndarray,
    labels: np.ndarray,
    colours: Colour | Mapping[int, Colour] | None = None,
    *,
    dashed: bool = False,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """(H', W', 3) uint8: the picture (H, W) or (H, W, 3) in [0, 1], enlarged to `size`, with its labels outlined."""
    return drawn(picture, [Layer(labels, colours, dashed)], size=size)


def compared(
    picture: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    *,
    size: tuple[int, int] | None = None,
    by_structure: bool = False,
    focus: int | None = None,
) -> np.ndarray:
    """As `overlay`, truth and prediction on one picture; a prediction alone has a colour for each label.

    by_structure  both have it: the truth is told from the prediction by its solid line alone
    focus         with by_structure, the label that the picture is about; the others are faint
    """
    return drawn(picture, _layers(truth, prediction, by_structure, focus), size=size)


def _layers(
    truth: np.ndarray | None, prediction: np.ndarray | None, by_structure: bool, focus: int | None
) -> list[Layer]:
    if truth is None:
        return [] if prediction is None else [Layer(prediction)]
    if by_structure and focus is not None:
        pair = [(truth, False), *([] if prediction is None else [(prediction, True)])]
        return [
            Layer(_only(labels, focus, keep=keep), dashed=dashed, faint=not keep)
            for keep in (False, True)
            for labels, dashed in pair
        ]
    if by_structure:
        return [Layer(truth), *([] if prediction is None else [Layer(prediction, dashed=True)])]
    solid = [Layer(truth, TRUTH)]
    return solid if prediction is None else [*solid, Layer(prediction, PREDICTION, dashed=True)]


def _only(labels: np.ndarray, value: int, *, keep: bool) -> np.ndarray:
    """One value alone, or all but it."""
    if labels.ndim == 3:
        return labels & (
            np.arange(1, labels.shape[2] + 1) == value if keep else np.arange(1, labels.shape[2] + 1) != value
        )
    return np.where((labels == value) == keep, labels, 0)


def drawn(picture: np.ndarray, layers: Sequence[Layer], *, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H', W', 3) uint8: layers one above the other on the picture."""
    height, width = picture.shape[:2]
    rows, columns = size or enlarged((height, width))
    base = _enlarge(picture, (columns, rows))
    pen = max(1.0, max(rows, columns) * _PEN_PER_PX) * _FINER
    scale = np.array([columns / width, rows / height]) * _FINER
    marks: list[tuple[np.ndarray, Colour, Layer]] = []
    for layer in layers:
        marks += [(line * scale, colour, layer) for line, colour in layer.lines()]
    if not marks:
        return np.asarray(base)
    sheet = pillow.new("RGBA", (columns * _FINER, rows * _FINER))
    brush = ImageDraw.Draw(sheet)
    for line, _, layer in marks:
        if not layer.faint:
            _stroke(brush, line, _HALO, pen * _HALO_PX)
    for line, colour, layer in marks:
        parts = contours.dashes(line, pen * _DASH_PX, pen * _GAP_PX) if layer.dashed else [line]
        opaque, width = (_FAINT, _FAINT_PX) if layer.faint else (255, _LINE_PX)
        for part in parts:
            _stroke(brush, part, (*colour, opaque), pen * width)
    fine = sheet.resize((columns, rows), pillow.Resampling.BOX)
    return np.asarray(pillow.alpha_composite(base.convert("RGBA"), fine).convert("RGB"))


def enlarged(shape: tuple[int, int], pixel_spacing_mm: tuple[float, float] | None = None) -> tuple[int, int]:
    """(height, width) of the picture with square pixels, its longest side at least LONGEST_PX, and never reduced.

    pixel_spacing_mm  (row, column) distance between pixels; None where they are square
    """
    sides = np.array(shape) * np.array(pixel_spacing_mm or (1.0, 1.0))
    least = max(LONGEST_PX, *shape) / sides.max()
    height, width = np.maximum(1, np.rint(sides * least)).astype(int).tolist()
    return height, width


def _stroke(brush: ImageDraw.ImageDraw, line: np.ndarray, colour: tuple[int, ...], width: float) -> None:
    brush.line([(float(x), float(y)) for x, y in line], fill=colour, width=max(1, round(width)), joint="curve")


def _enlarge(picture: np.ndarray, size: tuple[int, int]) -> pillow.Image:
    pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    colour = pillow.fromarray(pixels).convert("RGB")
    return colour if colour.size == size else colour.resize(size, pillow.Resampling.BICUBIC)


# volumes


def three_planes(
    image: Image,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    centre: Sequence[int] | None = None,
    *,
    intensity: windowing.Rule = "auto",
    names: Mapping[int, str] | None = None,
    focus: int | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8: axial, coronal and sagittal cuts at one scale as a radiologist sees them, with a legend.

    truth, prediction  (i, j, k) label maps on the grid of the image, or (i, j, k, T) booleans; None where there is none
    centre  the voxel to cut through; without it the middle of the largest structure of the truth, or of the prediction
    names   of the label values, for the legend; several also give each structure a colour of its own
    focus   the label that the picture is about: the others are faint
    A picture (k = 1), or frames without millimetres, give one cut as it is stored.
    """
    where = truth if truth is not None and truth.any() else prediction
    centre = tuple(centre) if centre is not None else centre_of(image.shape_vox, where)
    low, high = windowing.intensity_range(image, intensity)
    planes = list(windowing.PICTURE_AXES) if image.is_volume and image.has_spacing else ["stored"]
    cuts = [_cut(image, truth, prediction, centre, plane) for plane in planes]
    most_mm = max(side for cut in cuts for side in cut.sides_mm)
    panels = []
    for cut in cuts:
        if cut.plane == "stored":
            size = enlarged((cut.picture.shape[0], cut.picture.shape[1]), cut.pixel_spacing_mm)
        else:
            height, width = (max(1, round(side * PANEL_PX / most_mm)) for side in cut.sides_mm)
            size = (height, width)
        pixels = windowing.window(cut.picture, low, high)
        shown = compared(pixels, cut.truth, cut.prediction, size=size, by_structure=len(names or ()) > 1, focus=focus)
        panels.append(shown if cut.plane == "stored" else _lettered(shown, cut.plane))
    tall = max(p.shape[0] for p in panels)
    spaced = [_middle(p, tall) for p in panels]
    gap = np.zeros((tall, _GAP, 3), np.uint8)
    row = np.concatenate([part for p in spaced for part in (p, gap)][:-1], axis=1)
    strip = _legend(_entries(truth, prediction, names), row.shape[1])
    return np.concatenate([row, strip], axis=0)


@dataclass(frozen=True)
class _Cut:
    plane: str
    picture: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    pixel_spacing_mm: tuple[float, float]

    @property
    def sides_mm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.pixel_spacing_mm
        return self.picture.shape[0] * rows, self.picture.shape[1] * columns


def _cut(
    image: Image, truth: np.ndarray | None, prediction: np.ndarray | None, centre: Sequence[int], plane: str
) -> _Cut:
    axes = windowing.PICTURE_AXES.get(plane)

    def cut(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        view, affine = (voxels, image.affine) if axes is None else geometry.reoriented(voxels, image.affine, axes)
        at = np.rint(np.linalg.inv(affine) @ image.affine @ [*centre, 1.0]).astype(int)
        return view[:, :, at[2]].swapaxes(0, 1), affine

    picture, affine = cut(image.voxels)
    columns_mm, rows_mm, _ = geometry.spacing_mm(affine)
    return _Cut(
        plane,
        picture,
        None if truth is None else cut(truth)[0],
        None if prediction is None else cut(prediction)[0],
        (rows_mm, columns_mm),
    )


def centre_of(shape_vox: tuple[int, int, int], labels: np.ndarray | None) -> tuple[int, int, int]:
    """The voxel of the largest structure that is nearest to its centre of mass; the middle of the grid without one."""
    mask = None if labels is None else _largest(labels)
    if mask is None or not mask.any():
        i, j, k = (size // 2 for size in shape_vox)
        return i, j, k
    places = np.flatnonzero(mask)
    places = places[:: max(1, len(places) // _SAMPLE)]  # of large structures a sample is enough
    inside = np.stack(np.unravel_index(places, mask.shape), axis=1)
    nearest = inside[np.argmin(((inside - inside.mean(axis=0)) ** 2).sum(axis=1))]
    i, j, k = nearest.tolist()
    return i, j, k


def worst_place(truth: np.ndarray, prediction: np.ndarray, value: int | None = None) -> tuple[int, int, int] | None:
    """The voxel deepest inside the error of a structure (of all without a value): where a cut shows the error best.

    truth, prediction  (i, j, k) label maps, or (i, j, k, T) booleans. None where the two agree everywhere.
    The depth is that to the nearest voxel without error, so that a missed lesion goes before a thin rim however long.
    """
    if value is None:
        wrong = (truth != prediction).any(axis=-1) if truth.ndim == 4 else truth != prediction
    elif truth.ndim == 4:
        wrong = truth[..., value - 1] != prediction[..., value - 1]
    else:
        wrong = (truth == value) != (prediction == value)
    if not wrong.any():
        return None
    box = ndimage.find_objects(wrong.astype(np.uint8))[0]
    part = np.pad(wrong[box], 1)
    if part.shape[2] == 3:  # a picture: its one slice has no neighbours, which are no agreement
        depth = ndimage.distance_transform_edt(part[:, :, 1])[:, :, None]
        depth = np.pad(depth, ((0, 0), (0, 0), (1, 1)))
    else:
        depth = ndimage.distance_transform_edt(part)
    deepest = np.argwhere(depth == depth.max())[0]
    i, j, k = (deepest - 1 + [side.start for side in box]).tolist()
    return i, j, k


def _largest(labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 4:
        return labels[..., int(np.argmax(labels.sum(axis=(0, 1, 2))))]
    size_of: dict[int, int] = {}
    for k in range(labels.shape[2]):  # sorting a whole volume would take as long again
        values, counts = np.unique(labels[:, :, k], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            size_of[value] = size_of.get(value, 0) + count
    size_of.pop(0, None)
    return labels == max(size_of, key=lambda v: size_of[v]) if size_of else np.zeros(labels.shape, bool)


# lettering


def _entries(
    truth: np.ndarray | None, prediction: np.ndarray | None, names: Mapping[int, str] | None
) -> list[tuple[str, Colour, bool]]:
    drawn = [mask for mask in (truth, prediction) if mask is not None]
    there = [v for v in names or () if any(_holds(mask, v) for mask in drawn)]
    structures = [((names or {})[v], palette.label_colour(v), False) for v in there]
    if truth is not None:
        many = len(names or ()) > 1
        ends = [("truth", _INK if many else TRUTH, False), ("prediction", _INK if many else PREDICTION, True)]
        return [*(structures if many else []), *(ends if prediction is not None else ends[:1])]
    return (structures or [("nothing found", _DIM, False)]) if names and prediction is not None else []


def _holds(mask: np.ndarray, value: int) -> bool:
    return bool((mask[..., value - 1] if mask.ndim == 4 else mask == value).any())


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _lettered(panel: np.ndarray, plane: str) -> np.ndarray:
    """The plane's name in the corner, and at each edge where it points."""
    sheet = pillow.fromarray(panel)
    brush, font = ImageDraw.Draw(sheet), _font(12)
    width, height = sheet.size
    left, right, top, bottom = _ENDS[plane]

    def write(at: tuple[float, float], text: str, anchor: str, ink: Colour) -> None:
        brush.text(at, text, fill=ink, font=font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))

    edge = 4
    write((edge, height / 2), left, "lm", _DIM)
    write((width - edge, height / 2), right, "rm", _DIM)
    write((width / 2, edge), top, "ma", _DIM)
    write((width / 2, height - edge), bottom, "md", _DIM)
    write((edge, edge), plane, "la", _INK)
    return np.asarray(sheet)


def _middle(panel: np.ndarray, height: int) -> np.ndarray:
    above = (height - panel.shape[0]) // 2
    return np.pad(panel, ((above, height - panel.shape[0] - above), (0, 0), (0, 0)))


def _legend(entries: Sequence[tuple[str, Colour, bool]], width: int) -> np.ndarray:
    """(h, width, 3) uint8 on black, as many lines as it needs; no line without entries."""
    font, sample = _font(12), 22
    lines: list[list[tuple[int, str, Colour, bool]]] = []
    at = width
    for text, colour, dashed in entries:
        needed = sample + _MARGIN + int(font.getlength(text)) + 2 * _MARGIN
        if not lines or at + needed > width:
            lines.append([])
            at = _MARGIN
        lines[-1].append((at, text, colour, dashed))
        at += needed
    sheet = pillow.new("RGB", (width, _STRIP * len(lines)))
    brush = ImageDraw.Draw(sheet)
    for n, line in enumerate(lines):
        y = _STRIP * n + _STRIP // 2
        for x, text, colour, dashed in line:
            for begin, end in [(0, 5), (8, 14), (17, 22)] if dashed else [(0, sample)]:
                brush.line([(x + begin, y), (x + end, y)], fill=colour, width=2)
            brush.text((x + sample + _MARGIN, y), text, fill=_INK, font=font, anchor="lm")
    return np.asarray(sheet)


def png(picture: np.ndarray) -> bytes:
    """An (H, W, 3) uint8 picture as the bytes of a PNG file."""
    out = io.BytesIO()
    pillow.fromarray(picture).save(out, format="PNG", compress_level=4)
    return out.getvalue()
