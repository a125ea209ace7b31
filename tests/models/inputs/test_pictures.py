"""One picture of a case, with its masks and surroundings on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as pillow

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.degradation import Degradation
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.io.dataset.truth_masks import outlines
from medvfm.models.inputs.pictures import GROWN_PX, PicturePreparer


@pytest.fixture
def case(tmp_path):
    """A bright square on black, 40 x 60 px, and its mask in two files."""
    pixels, one, other = (np.zeros((40, 60), np.uint8) for _ in range(3))
    pixels[10:20, 30:50] = 200
    one[10:20, 30:40], other[10:20, 40:50] = 1, 255
    for name, array in (("image", pixels), ("one", one), ("other", other)):
        pillow.fromarray(array).save(tmp_path / f"{name}.png")
    masks = {name: (tmp_path / f"{name}.png",) for name in ("one", "other")}
    return Case("c", None, {"image": (tmp_path / "image.png",)}, masks=masks)


def arrays(case, spatial="", size=(60, 60), **more):
    preparer = PicturePreparer(size, Prepare(), spatial=spatial, **more)
    return preparer.arrays(preparer.images(case), case)


def test_a_picture_is_fitted_with_borders(case):
    found = arrays(case)
    assert set(found) == {"pixels"} and found["pixels"].shape == (1, 60, 60) and found["pixels"].dtype == np.float32
    right = np.zeros((60, 60))
    right[20:30, 30:50] = 200 / 255
    np.testing.assert_allclose(found["pixels"][0], right, atol=1e-6)


def test_masks_are_united_and_lie_on_the_picture(case):
    found = arrays(case, "mask")
    np.testing.assert_array_equal(found["mask"], (found["pixels"] > 0.5).astype(np.float32))
    half = arrays(case, "mask", (30, 30))
    assert set(np.unique(half["mask"])) == {0, 1} and half["mask"].sum() == 50


def test_what_is_filled_is_hidden_with_a_margin(case):
    found = arrays(case, "around")
    assert found["mask"].sum() == (10 + 2 * GROWN_PX) * (20 + 2 * GROWN_PX)
    assert (found["around"][found["mask"] > 0] == 0.5).all() and found["around"].max() == 0.5
    outside = found["mask"] == 0
    np.testing.assert_array_equal(found["around"][outside], found["pixels"][outside])


def test_of_a_label_map_only_what_is_outlined_is_read(case, tmp_path):
    """A map of tissues and a lesion, as virtual_brain's: the region is the lesion."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:25, 20:55], labels[12:18, 34:40] = 3, 4
    pillow.fromarray(labels).save(tmp_path / "labels.png")
    mapped = Case("c", None, case.images, masks={"mask": (tmp_path / "labels.png",)})
    card = DataCard.model_validate(
        {
            "name": "maps", "title": "Maps", "access": "local", "truth": "drawn",
            "labels": {3: {"name": "tissue"}, 4: {"name": "lesion"}},
            "layouts": [{"name": "table", "table": "cases.csv", "masks": {"mask": "{mask}"}}],
        }
    )  # fmt: skip
    assert outlines(card, ["ventricles"]) is None
    lesion = outlines(card, ["lesion", "ventricles"])
    assert arrays(mapped, "mask")["mask"].sum() == 20 * 35
    assert arrays(mapped, "mask", outlines=lesion)["mask"].sum() == 36
    found = arrays(mapped, "degraded", outlines=lesion, degradation=Degradation("gaussian", 0.2))
    assert found["lesions"].sum() == 36 and (found["degraded"] - found["pixels"]).std() > 0.05
    keys = {
        PicturePreparer((60, 60), Prepare(), spatial="degraded", outlines=o, degradation=d).key()
        for o in (None, lesion)
        for d in (Degradation("gaussian", 0.2), Degradation("gaussian", 0.3))
    }
    assert len(keys) == 4


def test_a_case_without_masks_shows_none_or_a_square_of_its_own(case, tmp_path):
    bare = Case("c", None, case.images)
    assert arrays(bare, "mask")["mask"].sum() == 0
    first, again = (arrays(bare, "around")["mask"] for _ in range(2))
    assert first.sum() == 15 * 15 and (first == again).all()
    other = arrays(Case("d", None, case.images), "around")["mask"]
    assert other.sum() == 15 * 15 and not (first == other).all()


def test_keys_and_files_tell_masks(case):
    plain, masked = PicturePreparer((8, 8), Prepare()), PicturePreparer((8, 8), Prepare(), spatial="mask")
    assert plain.key() != masked.key() and len(plain.files(case)) == 1 and len(masked.files(case)) == 3


def test_of_a_volume_it_is_the_slice_in_the_middle_of_the_span():
    voxels = np.zeros((8, 8, 10), np.float32)
    voxels[..., 6] = 1
    volume = Image(voxels, np.eye(4))
    preparer = PicturePreparer((8, 8), Prepare(slices={"span": [0.5, 0.8]}, windows=(0.0, 1.0)))
    assert preparer.of_image(volume).mean() == 1


def test_a_case_that_only_asks_has_no_arrays():
    preparer = PicturePreparer((8, 8), Prepare())
    assert preparer.arrays(preparer.images(Case("p", None, {})), Case("p", None, {})) == {}
