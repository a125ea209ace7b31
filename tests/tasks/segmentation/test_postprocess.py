"""Post-processing: each step against a case that can be counted by hand; nothing happens unless asked for."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.errors import RecipeError
from medvfm.tasks.segmentation import postprocess

AFFINE = np.diag([1.0, 1, 2, 1])


def mask() -> np.ndarray:
    """A hollow box of 1 with a 2 in its hollow, a far speck of 1 (two voxels, 4 mm3)."""
    found = np.zeros((9, 9, 5), np.uint8)
    found[1:6, 1:6, 0:5] = 1
    found[2:5, 2:5, 1:4] = 0
    found[3, 3, 2] = 2
    found[7, 7, 0:2] = 1
    return found


def through(*names: str) -> np.ndarray:
    return postprocess.apply(mask(), postprocess.parse(names, "semantic"), "semantic", AFFINE, True)


def test_nothing_is_done_unless_asked_for():
    assert np.array_equal(through(), mask())


def test_the_largest_component_stays():
    found = through("largest_component")
    assert not found[7, 7].any() and (found[:6] == mask()[:6]).all()


def test_holes_are_filled_but_not_over_another_structure():
    found = through("fill_holes")
    assert (found[1:6, 1:6] == 1).sum() == 5 * 5 * 5 - 1 and found[3, 3, 2] == 2


@pytest.mark.parametrize(("least", "kept"), [(3, True), (4, True), (5, False)])
def test_small_parts_go_by_their_volume_in_mm3(least, kept):
    assert (through(f"drop_smaller@mm3={least}")[7, 7, 0] == 1) == kept


def test_overlapping_structures_go_through_one_by_one():
    layers = np.stack([mask() == 1, mask() > 0], axis=-1)
    found = postprocess.apply(
        layers, postprocess.parse(["largest_component"], "multi_label"), "multi_label", AFFINE, True
    )
    assert not found[7, 7].any() and found[3, 3, 2].tolist() == [False, False]


def test_a_wrong_name_is_refused_with_the_choices():
    for name, said in (("fil_holes", "did you mean 'fill_holes'"), ("drop_smaller@mm=3", "drop_smaller@mm3=10")):
        with pytest.raises(RecipeError, match=said):
            postprocess.parse([name], "semantic")
    with pytest.raises(RecipeError, match="not for instances"):
        postprocess.parse(["fill_holes"], "instances")
