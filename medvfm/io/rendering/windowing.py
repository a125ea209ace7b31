"""From an Image to windowed 2D pictures for models, and from masks of pictures back to the grid of the Image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.geometry import PICTURE_AXES
from medvfm.core.image import Image

# Radiopaedia, "Windowing (CT)": width and level of each, here as (low, high) = level -/+ width / 2.
NAMED_WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),  # W 1500 L -600
    "mediastinum": (-125.0, 225.0),  # W 350 L 50
    "soft_tissue": (-150.0, 250.0),  # abdomen, W 400 L 50
    "liver": (-45.0, 105.0),  # W 150 L 30
    "bone": (-500.0, 1300.0),  # W 1800 L 400
    "spine": (-75.0, 175.0),  # soft tissue of the spine, W 250 L 50
    "brain": (0.0, 80.0),  # W 80 L 40
    "subdural": (-50.0, 150.0),  # W 200 L 50, inside the range of W 130-300 L 50-100
    "stroke": (20.0, 60.0),  # W 40 L 40
    "temporal_bone": (-800.0, 2000.0),  # W 2800 L 600
}
_SAMPLE = 1 << 20  # voxels that percentiles are taken from

Rule = str | Sequence[float] | Sequence[str] | Sequence[Sequence[float]] | Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class SlicePlan:
    """Which slices of an Image become pictures, and their orientation in it.

    axes              where columns, rows and slices point, as `LPS`; None for the stored axes (no plane in a patient)
    indices           which slices along the third of these axes
    shape             (height, width) of a picture
    pixel_spacing_mm  (row, column) distance between pixels, so that pixels can be made square; None where unknown
    """

    axes: str | None
    indices: tuple[int, ...]
    shape: tuple[int, int]
    pixel_spacing_mm: tuple[float, float] | None


def window(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32 in [0, 1]: 0 at `low` and below, 1 at `high` and above, linear between."""
    if not low < high:
        raise ValueError(f"a window from {low} to {high}; low must be below high")
    step = np.float32(1.0 / (high - low))
    if _is_exact_in_integers(voxels.dtype, low, high, step):  # the same values, at two thirds of the time
        whole = np.clip(voxels, int(low), int(high))
        whole -= whole.dtype.type(low)
        out = whole.astype(np.float32)
        out *= step
        return out
    out = voxels.astype(np.float32)
    out -= np.float32(low)
    out *= step
    return np.clip(out, 0.0, 1.0, out=out)


def _is_exact_in_integers(dtype: np.dtype, low: float, high: float, step: np.float32) -> bool:
    """Whether 8 or 16-bit voxels can be cut off and shifted as they are, `high` becoming 1 and no less."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return False
    held = np.iinfo(dtype)
    inside = held.min <= low and high <= held.max and high - low <= held.max
    return inside and float(low).is_integer() and float(high).is_integer() and bool(np.float32(high - low) * step == 1)


def intensity_range(image: Image, rule: Rule = "auto") -> tuple[float, float]:
    """The values that become 0 and 1.

    rule  a window of NAMED_WINDOWS_HU (the image must be in HU); two numbers; {"percentiles": [a, b]} of the
          foreground; or `auto`: 0 to 255 for 8-bit colour and pictures, the window that the header states,
          `soft_tissue` for HU without one, 0 to the highest value of a label map, and else the 0.5 to 99.5
          percentiles of the foreground.
    The foreground is what lies above the lowest value where at least 1% of the voxels have that value (air, padding,
    a masked background), else everything. Percentiles of large images are taken from about a million voxels, drawn
    by a fixed seed.
    """
    if isinstance(rule, Mapping):
        return _percentiles(image.voxels, *_two(rule.get("percentiles", ()), "percentiles"))
    if not isinstance(rule, str):
        return _increasing(*_two(rule, "an intensity window"))
    if rule == "auto":
        return _automatic(image)
    if rule not in NAMED_WINDOWS_HU:
        raise RecipeError(f"no window {rule!r}; {nearest(rule, ['auto', *NAMED_WINDOWS_HU])}")
    if image.unit != "HU":
        raise RecipeError(
            f"the window {rule!r} is in HU and the image is in {image.unit}",
            remedy="say unit: HU in the data card if it is a CT, or give two numbers or percentiles",
        )
    return NAMED_WINDOWS_HU[rule]


def slice_plan(
    image: Image, *, plane: str = "axial", count: int | None = None, span: tuple[float, float] = (0.2, 0.8)
) -> SlicePlan:
    """Choose slices: `count` of them at even distances, centred in `span` of the axis; all of the span without a count.

    No slice is chosen twice, so that a thin volume gives fewer. A picture (k = 1) gives its one slice as it is stored.
    """
    if plane not in (*PICTURE_AXES, "native"):
        raise RecipeError(f"no plane {plane!r}; {nearest(plane, [*PICTURE_AXES, 'native'])}")
    low, high = span
    if not 0 <= low < high <= 1:
        raise RecipeError(f"a span of slices from {low} to {high}; it lies within 0 and 1")
    if count is not None and count < 1:
        raise RecipeError(f"{count} slices; at least 1")
    axes = _axes(image, plane)
    view, affine = _view(image.voxels, image.affine, axes)
    columns, rows, slices = view.shape[:3]
    spacing = geometry.spacing_mm(affine)
    return SlicePlan(
        axes=axes,
        indices=_spread(slices, count, (low, high)),
        shape=(rows, columns),
        pixel_spacing_mm=(spacing[1], spacing[0]) if image.has_spacing else None,
    )


def slice_pictures(
    image: Image,
    *,
    plane: str = "axial",
    count: int | None = None,
    span: tuple[float, float] = (0.2, 0.8),
    intensity: Rule = "auto",
) -> np.ndarray:
    """Pictures (S, C, H, W) float32 in [0, 1] of the slices that `slice_plan` chooses with the same arguments.

    C is 3 for colour, 3 for three windows as `intensity` (one channel each), else the image's channels (1).
    Axial pictures have the patient's right at the left edge and anterior up; see PICTURE_AXES. Nothing is interpolated:
    where SlicePlan.pixel_spacing_mm has two different numbers, pixels are not square yet.
    """
    plan = slice_plan(image, plane=plane, count=count, span=span)
    return pictures_of(image, plan, intensity)


def pictures_of(image: Image, plan: SlicePlan, intensity: Rule = "auto") -> np.ndarray:
    """Pictures (S, C, H, W) float32 in [0, 1] of the slices of a plan."""
    view, _ = _view(image.voxels, image.affine, plan.axes)
    chosen = view[:, :, _selection(plan.indices)]
    chosen = chosen[..., None] if chosen.ndim == 3 else chosen
    stored = chosen.transpose(2, 3, 1, 0)  # (column, row, slice, channel) to (slice, channel, row, column)
    if _is_rule_per_channel(intensity):
        if stored.shape[1] != 1:
            raise RecipeError(f"several windows make channels of one, and the image has {stored.shape[1]}")
        ranges = [intensity_range(image, rule) for rule in intensity]  # type: ignore[arg-type]
        return np.concatenate([window(stored, *r) for r in ranges], axis=1)
    if image.voxels.ndim == 3 or _is_colour(image):
        return window(stored, *intensity_range(image, intensity))
    out = np.empty(stored.shape, np.float32)
    for c in range(stored.shape[1]):  # channels that are images of their own, each with its range
        one = Image(image.voxels[..., c], image.affine, image.unit, image.has_spacing, header=image.header)
        out[:, c] = window(stored[:, c], *intensity_range(one, intensity))
    return out


def place_slices(masks: np.ndarray, image: Image, plan: SlicePlan, fill: float = 0) -> np.ndarray:
    """Masks (S, H, W) of a plan's pictures on the grid of the image: (i, j, k), `fill` between the slices. Exact."""
    if masks.shape != (len(plan.indices), *plan.shape):
        raise ValueError(f"masks of shape {masks.shape}; the plan has {(len(plan.indices), *plan.shape)}")
    placed = np.full(image.shape_vox, fill, dtype=masks.dtype)
    view, _ = _view(placed, image.affine, plan.axes)
    view[:, :, list(plan.indices)] = masks.transpose(2, 1, 0)
    return placed


def _axes(image: Image, plane: str) -> str | None:
    if not image.is_volume or not image.has_spacing:
        return None
    return geometry.picture_axes(image.affine, plane)


def _view(voxels: np.ndarray, affine: np.ndarray, axes: str | None) -> tuple[np.ndarray, np.ndarray]:
    return (voxels, affine) if axes is None else geometry.reoriented(voxels, affine, axes)


def _spread(length: int, count: int | None, span: tuple[float, float]) -> tuple[int, ...]:
    """Slices whose centres lie in the span of the axis, or `count` of them: the centres of as many equal parts."""
    low, high = span[0] * length, span[1] * length  # in cells: slice n fills n to n + 1
    inside = [n for n in range(length) if low <= n + 0.5 <= high] or [min(int((low + high) / 2), length - 1)]
    if count is None or count >= len(inside):
        return tuple(inside)
    middles = low + (np.arange(count) + 0.5) * (high - low) / count
    return tuple(sorted({min(int(m), length - 1) for m in middles}))


def _selection(indices: Sequence[int]) -> slice | list[int]:
    """Neighbouring slices as a range, which numpy takes without a copy."""
    first, last = indices[0], indices[-1]
    return slice(first, last + 1) if last - first + 1 == len(indices) else list(indices)


def _automatic(image: Image) -> tuple[float, float]:
    if image.unit == "RGB":
        return 0.0, 255.0
    if image.unit == "label":
        return _increasing(0.0, max(1.0, float(image.voxels.max())))
    for key in ("window_hu", "window", "value_range"):
        if (stated := image.header.get(key)) is not None:
            return _increasing(*_two(stated, key))
    if image.unit == "HU":
        return NAMED_WINDOWS_HU["soft_tissue"]
    return _percentiles(image.voxels, 0.5, 99.5)


def _percentiles(voxels: np.ndarray, low: float, high: float) -> tuple[float, float]:
    if not 0 <= low < high <= 100:
        raise RecipeError(f"percentiles {low} and {high}; increasing, from 0 to 100")
    sample = voxels.ravel(order="K")
    if sample.size > _SAMPLE:  # drawn, since a fixed step can fall on the same columns of every row
        sample = sample[np.random.default_rng(0).integers(0, sample.size, _SAMPLE)]
    lowest = sample.min()
    above = sample[sample > lowest]
    foreground = above if 0 < above.size <= 0.99 * sample.size else sample
    first, last = (float(p) for p in np.percentile(foreground, [low, high]))
    return (first, last) if first < last else (float(lowest), float(max(sample.max(), lowest + 1)))


def _two(numbers: object, what: str) -> tuple[float, float]:
    try:
        low, high = (float(n) for n in numbers)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{what} is {numbers!r}; two numbers are needed") from error
    return low, high


def _increasing(low: float, high: float) -> tuple[float, float]:
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RecipeError(f"an intensity window from {low:g} to {high:g}; the first must be lower")
    return low, high


def _is_rule_per_channel(intensity: object) -> bool:
    return (
        isinstance(intensity, Sequence) and not isinstance(intensity, str) and isinstance(intensity[0], str | Sequence)
    )


def _is_colour(image: Image) -> bool:
    return image.unit == "RGB" or image.header.get("photometric") == "RGB"
