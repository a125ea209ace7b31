"""Slices as a radiologist sees them, against nibabel's canonical axes; windows; and the way back to the grid."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from medvfm.core.errors import RecipeError
from medvfm.core.image import Image
from medvfm.io.rendering.windowing import (
    NAMED_WINDOWS_HU,
    intensity_range,
    pictures_of,
    place_slices,
    slice_pictures,
    slice_plan,
    window,
)

ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("LR", "PA", "IS")) for letters in itertools.product(*order)
]  # all 48
PLANES = ("axial", "coronal", "sagittal")


def volume(axes: str = "RAS", shape=(5, 6, 7), spacing=(1.0, 2.0, 3.0), seed: int = 0, **fields) -> Image:
    """Noise on a grid whose axes point to `axes`, a little oblique."""
    r = np.random.default_rng(seed)
    turn = nibabel.eulerangles.euler2mat(0.1, -0.08, 0.12)
    ornt = nibabel.orientations.axcodes2ornt(axes)
    affine = np.eye(4)
    for voxel_axis, (patient_axis, sign) in enumerate(ornt):
        affine[int(patient_axis), voxel_axis] = sign * spacing[voxel_axis]
    affine[:3, :3] = turn @ affine[:3, :3] + 0.0
    affine[3, :3], affine[:3, 3] = 0, [10, -20, 30]
    image = Image(r.integers(-500, 1500, shape).astype(np.int16), affine, **fields)
    assert image.orientation == axes
    return image


def as_radiologists_see(image: Image, plane: str) -> np.ndarray:
    """(S, H, W): all slices of a plane by way of nibabel."""
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(image.voxels, image.affine)).get_fdata()
    if plane == "axial":  # inferior to superior; the patient's right at the left edge, anterior up
        return canonical[::-1, ::-1].transpose(2, 1, 0)
    if plane == "coronal":  # anterior to posterior; right at the left edge, superior up
        return canonical[::-1, ::-1, ::-1].transpose(1, 2, 0)
    return canonical[::-1, ::-1, ::-1].transpose(0, 2, 1)  # right to left; anterior at the left edge, superior up


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_every_orientation_gives_the_same_pictures_as_nibabel(axes):
    image = volume(axes)
    for plane in PLANES:
        pictures = slice_pictures(image, plane=plane, span=(0, 1), intensity=[-500, 1500])
        expected = (as_radiologists_see(image, plane) + 500) / 2000
        assert pictures.shape == (len(expected), 1, *expected.shape[1:]) and pictures.dtype == np.float32
        assert pictures[:, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("axes", ["RAS", "PIR", "ILA"])
@pytest.mark.parametrize("plane", [*PLANES, "native"])
@pytest.mark.parametrize("count", [None, 3])
def test_masks_return_to_their_voxels(axes, plane, count):
    image = volume(axes)
    plan = slice_plan(image, plane=plane, count=count, span=(0, 1))
    stored = pictures_of(image, plan, [-500, 1500])[:, 0]
    placed = place_slices(stored, image, plan, fill=-1)
    inside = placed != -1
    assert np.array_equal(placed[inside], window(image.voxels, -500, 1500)[inside])
    assert inside.sum() == len(plan.indices) * np.prod(plan.shape)
    assert (count is not None) or inside.all()
    masks = np.random.default_rng(1).integers(0, 3, stored.shape).astype(np.uint8)
    again = pictures_of(Image(place_slices(masks, image, plan), image.affine), plan, [0, 255])[:, 0]
    assert np.array_equal(np.rint(again * 255), masks) and place_slices(masks, image, plan).dtype == np.uint8


def test_masks_of_another_shape_are_refused():
    image = volume()
    with pytest.raises(ValueError, match="the plan has"):
        place_slices(np.zeros((2, 3, 3)), image, slice_plan(image))


@pytest.mark.parametrize(
    "plane, spacing", [("axial", (2, 1)), ("coronal", (3, 1)), ("sagittal", (3, 2)), ("native", (2, 1))]
)
def test_pixel_spacing_is_row_then_column(plane, spacing):
    plan = slice_plan(volume("RAS", spacing=(1, 2, 3)), plane=plane)
    assert plan.pixel_spacing_mm == pytest.approx(spacing)


@pytest.mark.parametrize("spacing, plane", [((1, 1, 5), "axial"), ((1, 5, 1), "coronal"), ((5, 1, 1), "sagittal")])
def test_native_slices_lie_across_the_widest_spacing(spacing, plane):
    image = volume("RAS", spacing=spacing)
    assert slice_plan(image, plane="native") == slice_plan(image, plane=plane)


def test_slices_are_spread_evenly_inside_the_span():
    image = volume(shape=(2, 2, 100))
    assert slice_plan(image, count=1).indices == (50,)
    assert slice_plan(image, count=3).indices == (30, 50, 70)
    assert slice_plan(image, count=4, span=(0, 1)).indices == (12, 37, 62, 87)
    assert slice_plan(image).indices == tuple(range(20, 80))
    for count in range(1, 61):
        chosen = slice_plan(image, count=count).indices
        assert len(set(chosen)) == count and min(chosen) >= 20 and max(chosen) < 80
        assert np.ptp(np.diff(chosen), axis=None) <= 1 if count > 1 else True
    thin = volume(shape=(2, 2, 3))
    assert slice_plan(thin, count=9).indices == (1,) and slice_plan(thin, count=9, span=(0, 1)).indices == (0, 1, 2)
    assert slice_plan(thin, span=(0.9, 0.95)).indices == (2,)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_stays_as_it_is_stored(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)  # row, column
    pixels = pixels if channels == 3 else pixels[..., 0]
    voxels = pixels.T[:, :, None] if channels == 1 else pixels.transpose(1, 0, 2)[:, :, None]
    for spacing in (False, True):
        image = Image(
            voxels, np.diag([-1.0, -1, 1, 1]), unit="RGB" if channels == 3 else "arbitrary", has_spacing=spacing,
            header={"value_range": (0, 255)},
        )  # fmt: skip
        for plane in [*PLANES, "native"]:
            pictures = slice_pictures(image, plane=plane, count=5, span=(0.9, 1.0))
            assert pictures.shape == (1, channels, 4, 6)
            expected = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
            assert pictures[0] == pytest.approx(expected / 255, abs=1e-6)
        assert (slice_plan(image).pixel_spacing_mm is not None) == spacing


def test_three_windows_make_three_channels():
    image = volume(unit="HU")
    pictures = slice_pictures(image, count=2, intensity=["lung", "soft_tissue", "bone"])
    assert pictures.shape[:2] == (2, 3)
    for c, name in enumerate(("lung", "soft_tissue", "bone")):
        assert np.array_equal(pictures[:, c], slice_pictures(image, count=2, intensity=name)[:, 0])


def test_channels_that_are_images_of_their_own_have_ranges_of_their_own():
    r = np.random.default_rng(0)
    voxels = np.stack([r.normal(10, 1, (9, 9, 9)), r.normal(1000, 300, (9, 9, 9))], axis=-1).astype(np.float32)
    pictures = slice_pictures(Image(voxels, np.eye(4)), span=(0, 1))
    for c in (0, 1):
        alone = slice_pictures(Image(voxels[..., c], np.eye(4)), span=(0, 1))
        assert np.array_equal(pictures[:, c], alone[:, 0])


@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "float32"])
def test_a_window_is_a_straight_line_between_its_ends(dtype):
    values = np.array([0, 10, 20, 30, 110, 111, 120], dtype)
    assert window(values, 10, 110) == pytest.approx([0, 0, 0.1, 0.2, 1, 1, 1], abs=1e-7)
    assert window(values, 10, 110).dtype == np.float32
    with pytest.raises(ValueError, match="below"):
        window(values, 5, 5)


def test_a_window_over_the_whole_of_int16_does_not_wrap():
    values = np.array([-32768, 0, 32767], np.int16)
    assert window(values, -32768, 32767) == pytest.approx([0, 0.5, 1], abs=1e-4)


def test_named_windows_are_width_and_level():
    for name, width, level in [("lung", 1500, -600), ("brain", 80, 40), ("bone", 1800, 400), ("liver", 150, 30)]:
        assert NAMED_WINDOWS_HU[name] == (level - width / 2, level + width / 2)


def test_automatic_ranges():
    assert intensity_range(volume(unit="HU")) == NAMED_WINDOWS_HU["soft_tissue"]
    assert intensity_range(volume(unit="HU", header={"window_hu": (-10, 90)})) == (-10, 90)
    assert intensity_range(Image(np.full((3, 3, 3), 7, np.int16), np.eye(4), unit="label")) == (0, 7)
    assert intensity_range(Image(np.zeros((3, 3, 1, 3), np.uint8), np.eye(4), unit="RGB")) == (0, 255)


def test_percentiles_are_of_the_foreground():
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[5:15, 5:15, 5:15] = np.random.default_rng(0).uniform(100, 200, (10, 10, 10))
    low, high = intensity_range(Image(voxels, np.eye(4)))
    assert (low, high) == pytest.approx(np.percentile(voxels[voxels > 0], [0.5, 99.5]))
    low, high = intensity_range(Image(voxels, np.eye(4)), {"percentiles": [10, 50]})
    assert (low, high) == pytest.approx(np.percentile(voxels[voxels > 0], [10, 50]))
    full = Image(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32), np.eye(4))
    assert intensity_range(full) == pytest.approx(np.percentile(full.voxels, [0.5, 99.5]), abs=1e-3)


def test_a_constant_image_has_a_range():
    pictures = slice_pictures(Image(np.full((4, 4, 4), 7, np.int16), np.eye(4)))
    assert np.isfinite(pictures).all()


@pytest.mark.parametrize(
    "rule, words",
    [
        ("lungs", "no window 'lungs'; did you mean 'lung'"),
        ("lung", "is in HU and the image is in arbitrary"),
        ([5, 5], "the first must be lower"),
        ([1, 2, 3], "two numbers"),
        ({"percentiles": [99, 1]}, "increasing"),
        ({"percentile": [1, 99]}, "two numbers"),
    ],
)
def test_rules_that_cannot_be(rule, words):
    with pytest.raises(RecipeError, match=words):
        intensity_range(volume(), rule)


def test_planes_spans_and_counts_that_cannot_be():
    with pytest.raises(RecipeError, match="did you mean 'axial'"):
        slice_plan(volume(), plane="axiel")
    with pytest.raises(RecipeError, match="span"):
        slice_plan(volume(), span=(0.8, 0.2))
    with pytest.raises(RecipeError, match="0 slices"):
        slice_plan(volume(), count=0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("ends", [(0, 100), (-100, 27), (-150, 250), (20, 61), (-1350, 150), (-0.5, 80.5), (0, 41)])
def test_whole_numbers_are_windowed_as_their_float_copies(dtype: type, ends: tuple[float, float]) -> None:
    held = np.iinfo(dtype)
    values = np.arange(held.min, held.max + 1, dtype=dtype).reshape(2, -1, 4).transpose(2, 0, 1)
    found = window(values, *ends)
    assert np.array_equal(found, window(values.astype(np.float64), *ends))
    assert (found.min(), found.max()) == (0, 1) or held.min > ends[0] or held.max < ends[1]
