"""Masks of another program as prompts: in the space of the patient, in the task's numbers, or refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.prompt_masks import PromptMasks

LPS = np.diag([-1.0, -1.0, 2.0, 1.0])
GRID = SliceGrid.of((8, 10, 4), LPS, True)


def drawn(value: int = 1) -> np.ndarray:
    mask = np.zeros((8, 10, 4), np.uint8)
    mask[1:3, 4:9, 2:] = value
    return mask


def saved(folder, mask, affine=LPS, name="a.nii.gz") -> None:
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / name)


def masks(folder, classes=("blob",), kind="semantic", names=None) -> PromptMasks:
    return PromptMasks(folder, classes, kind, names or {})


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIL", "SAL"])
def test_masks_stored_in_any_direction_are_the_same_prompt(tmp_path, codes):
    """Turned by nibabel, which moves no voxel in the patient."""
    image = nibabel.Nifti1Image(drawn(), LPS)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(LPS), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(masks(tmp_path).read(Case("a", None, {}), GRID), drawn())


@pytest.mark.parametrize(("scale", "shift_mm", "width"), [(1, 30, 8), (2, 0, 8), (1, 0, 4)])
def test_masks_that_lie_elsewhere_are_refused(tmp_path, scale, shift_mm, width):
    affine = LPS @ np.diag([scale, 1, 1, 1])
    affine[0, 3] = shift_mm
    saved(tmp_path, np.ones((width, 10, 4), np.uint8), affine)
    with pytest.raises(UnreadableImage, match="lies on the grid of its image"):
        masks(tmp_path).read(Case("a", None, {}), GRID)


@pytest.mark.parametrize(
    ("values", "classes", "names", "wanted"),
    [
        ({255: 1}, ("blob",), {}, "as one structure"),
        ({255: 1}, ("blob",), {1: "blob"}, "as one structure"),
        ({4: 1, 2: 2}, ("core", "oedema"), {1: "necrosis", 2: "oedema", 4: "core"}, "as the card has them"),
        ({128: 2, 255: 1}, ("cup", "disc"), {128: "disc", 255: "cup"}, "as the card has them"),
        ({1: 1, 2: 2}, ("cup", "disc"), {128: "disc", 255: "cup"}, "as an earlier run had them"),
        ({1: 0, 2: 1}, ("oedema",), {1: "necrosis", 2: "oedema"}, "others left out"),
        ({1: 1, 2: 2}, ("a", "b"), {}, "in order"),
    ],
)
def test_values_mean_structures(tmp_path, values, classes, names, wanted):
    mask = np.zeros((8, 10, 4), np.uint8)
    for place, value in enumerate(values):
        mask[place * 2 : place * 2 + 2, 3:6, 1] = value
    saved(tmp_path, mask)
    found = masks(tmp_path, classes, names=names).read(Case("a", None, {}), GRID)
    for place, number in enumerate(values.values()):
        assert (found[place * 2 : place * 2 + 2, 3:6, 1] == number).all(), wanted


def test_values_that_nobody_named_are_refused(tmp_path):
    mask = drawn()
    mask[5, 5, 0] = 7
    saved(tmp_path, mask)
    with pytest.raises(UnreadableImage, match=r"the values 1, 7, and the card names 1 a, 2 b; write the values"):
        masks(tmp_path, ("a", "b"), names={1: "a", 2: "b"}).read(Case("a", None, {}), GRID)
    with pytest.raises(UnreadableImage, match="the task has 2 structures"):
        masks(tmp_path, ("a", "b")).read(Case("a", None, {}), GRID)
    assert masks(tmp_path, ("cell",), "instances").read(Case("a", None, {}), GRID).max() == 7


def test_files_of_cases(tmp_path):
    saved(tmp_path, drawn())
    Picture.fromarray(np.full((10, 8), 255, np.uint8)).save(tmp_path / "b.png")
    flat = SliceGrid.of((8, 10, 1), np.eye(4), False)
    assert (masks(tmp_path).read(Case("b", None, {}), flat) == 1).all()
    with pytest.raises(UnreadableImage, match=r"c: no mask of this case"):
        masks(tmp_path).read(Case("c", None, {}), GRID)
    assert masks(tmp_path).strangers([Case("a", None, {})]) == ["b"]
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"two masks of this case, a\.nii\.gz and a\.png"):
        masks(tmp_path).read(Case("a", None, {}), GRID)
