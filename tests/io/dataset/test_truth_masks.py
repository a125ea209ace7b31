"""True masks, whatever files they come in, on the grid of their image; what is wrong with one is refused by name."""

from __future__ import annotations

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Picture

from medvfm.core.case import Case
from medvfm.core.data_card import Label, Masks
from medvfm.core.errors import UnreadableImage
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.dicom.rtstruct import structure_masks
from medvfm.io.read import read_image
from tests.samples.dicom import rtstruct, to_mm, write_series

AFFINE = np.diag([-1.0, 2, 3, 1])
LABELS = {1: Label(name="liver"), 2: Label(name="spleen"), 7: Label(name="tumour")}


@pytest.fixture
def volume(tmp_path):
    """An image of (6, 5, 4), and a way to save arrays on its grid."""

    def save(name, array, affine=AFFINE):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / name)
        return tmp_path / name

    image = read_image(save("image.nii.gz", np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)))
    return image, save


def case(**masks):
    return Case("c1", "p1", {}, masks={name: (path,) for name, path in masks.items()})


def label_map(dtype=np.uint8):
    found = np.zeros((6, 5, 4), dtype)
    found[1:3], found[3:5, :2], found[0, 0, 0] = 1, 2, 7
    return found


def test_values_of_the_card_become_the_order_of_the_question(volume):
    image, save = volume
    path = save("labels.nii.gz", label_map())
    found = MaskTruthReader(("tumour", "liver"), "semantic", LABELS)(case(mask=path), image)
    assert np.array_equal(found, np.select([label_map() == 7, label_map() == 1], [1, 2]))
    layers = MaskTruthReader(("liver", "spleen"), "multi_label", LABELS)(case(mask=path), image)
    assert layers.dtype == bool and np.array_equal(layers[..., 1], label_map() == 2)


@pytest.mark.parametrize(
    ("array", "affine", "said"),
    [
        (label_map() + np.eye(6, 5, dtype=np.uint8)[..., None] * 40, AFFINE, "labels.nii.gz"),  # values without a name
        (label_map(np.float32) * 0.5, AFFINE, "labels.nii.gz"),  # no whole numbers
        (label_map()[:5], AFFINE, "5 x 5 x 4"),
        (label_map(), np.diag([-1.0, 2, 3.5, 1]), "mm from those of the image"),
    ],
)
def test_what_is_no_label_map_of_the_image_is_refused(volume, array, affine, said):
    image, save = volume
    path = save("labels.nii.gz", array, affine)
    with pytest.raises(UnreadableImage, match=said):
        MaskTruthReader(("liver",), "semantic", LABELS)(case(mask=path), image)


def test_a_truncated_mask_and_none_at_all(volume):
    image, save = volume
    path = save("labels.nii.gz", label_map())
    path.write_bytes(path.read_bytes()[:60])
    reader = MaskTruthReader(("liver",), "semantic", LABELS)
    with pytest.raises(UnreadableImage, match=r"labels\.nii\.gz"):
        reader(case(mask=path), image)
    with pytest.raises(UnreadableImage, match="c1 has no mask"):
        reader(case(), image)


def test_structures_in_files_of_their_own(volume):
    image, save = volume
    one, two = np.zeros((6, 5, 4), np.uint8), np.zeros((6, 5, 4), np.uint8)
    one[:3], two[3:] = 1, 255
    files = {"liver": save("a.nii.gz", one), "spleen": save("b.nii.gz", two)}
    found = MaskTruthReader(("spleen", "liver"), "semantic")(case(**files), image)
    assert (found[:3] == 2).all() and (found[3:] == 1).all()
    files["liver"] = save("a.nii.gz", np.ones((6, 5, 4), np.uint8))
    with pytest.raises(UnreadableImage, match="overlaps another structure"):
        MaskTruthReader(("spleen", "liver"), "semantic")(case(**files), image)
    assert MaskTruthReader(("spleen", "liver"), "multi_label")(case(**files), image).sum() == 60 + 120


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "image.png")
    return read_image(tmp_path / "image.png"), tmp_path


def test_grey_pictures_are_cut_where_the_card_says(picture):
    image, folder = picture
    grey = np.zeros((8, 10), np.uint8)
    grey[2:5, 3:9], grey[6, 6] = 250, 100  # the second is what JPEG leaves around an edge
    Picture.fromarray(grey).save(folder / "mask.png")
    found = MaskTruthReader(("polyp",), "semantic", {1: Label(name="polyp")}, Masks(kind="grey"))
    truth = found(case(mask=folder / "mask.png"), image)
    assert np.array_equal(truth[:, :, 0].T, grey > 127)
    Picture.fromarray(grey[:, :9]).save(folder / "mask.png")
    with pytest.raises(UnreadableImage, match="mask"):
        found(case(mask=folder / "mask.png"), image)


def test_objects_as_numbers_and_as_a_folder_of_pictures(picture):
    image, folder = picture
    objects = np.zeros((8, 10), np.uint16)
    objects[1:3, 1:4], objects[5:7, 6:9] = 1, 300
    Picture.fromarray(objects).save(folder / "objects.png")
    reader = MaskTruthReader(("nucleus",), "instances", {}, Masks(kind="instances"))
    assert np.array_equal(reader(case(mask=folder / "objects.png"), image)[:, :, 0].T, objects)
    (folder / "each").mkdir()
    for n, value in enumerate((1, 300)):
        Picture.fromarray(((objects == value) * 255).astype(np.uint8)).save(folder / "each" / f"{n}.png")
    found = reader(case(mask=folder / "each"), image)[:, :, 0].T
    assert set(np.unique(found)) == {0, 1, 2} and np.array_equal(found > 0, objects > 0)


@pytest.fixture
def contoured(tmp_path):
    """A CT series (16, 12, 6), and an RTSTRUCT in which the target lies within the body, one structure is left blank
    and one is a point."""
    image = read_image(write_series(tmp_path / "ct", shape=(12, 16)))
    body = np.array([[1.2, 1.2], [14.2, 1.2], [14.2, 10.2], [1.2, 10.2]])
    target = body / 2 + 2
    path = rtstruct(
        tmp_path / "rt.dcm",
        {
            "Body": [to_mm(image, body, k) for k in range(1, 5)],
            "GTV-1": [to_mm(image, target, k) for k in (2, 3)],
            "Node": [],
            "Isocentre": [to_mm(image, target[:1], 2)],
        },
    )
    ds = pydicom.dcmread(path)
    ds.ROIContourSequence[3].ContourSequence[0].ContourGeometricType = "POINT"
    ds.save_as(path)
    return image, path


def test_contours_are_read_by_the_labels_of_the_card(contoured):
    image, path = contoured
    masks = structure_masks(path, image)
    labels = {n: Label(name=name) for n, name in enumerate(["Node", "GTV-1", "Body"], 1)}
    read = MaskTruthReader(("Body", "Node", "GTV-1"), "multi_label", labels)
    found = read(case(mask=path), image)
    assert np.array_equal(found[..., 0], masks["Body"]) and np.array_equal(found[..., 2], masks["GTV-1"])
    assert masks["GTV-1"].any() and not found[..., 1].any()  # listed and never contoured: empty
    one = MaskTruthReader(("GTV-1",), "semantic", labels)(case(mask=path), image)
    assert np.array_equal(one == 1, masks["GTV-1"])
    with pytest.raises(UnreadableImage, match="overlaps another structure"):
        MaskTruthReader(("Body", "GTV-1"), "semantic", labels)(case(mask=path), image)


def test_contours_without_labels_in_the_card_and_in_files_of_their_own(contoured):
    image, path = contoured
    gtv = structure_masks(path, image)["GTV-1"]
    for columns in ({"mask": path}, {"GTV-1": path}):
        found = MaskTruthReader(("GTV-1",), "semantic")(case(**columns), image)
        assert np.array_equal(found == 1, gtv)
    ds = pydicom.dcmread(path)
    ds.StructureSetROISequence, ds.ROIContourSequence = ds.StructureSetROISequence[1:2], ds.ROIContourSequence[1:2]
    ds.save_as(path)
    assert np.array_equal(MaskTruthReader(("tumour",), "semantic")(case(tumour=path), image) == 1, gtv)


@pytest.mark.parametrize(
    ("names", "labels", "kind", "said"),
    [
        (["Liver"], ["Liver"], "semantic", "no closed contours of 'Liver'"),  # not listed: nobody knows where it is
        (["Isocentre"], ["Isocentre"], "semantic", "no closed contours of 'Isocentre'"),  # a point has no volume
        (["Body"], ["Liver"], "semantic", "no label 'Body' in the card"),
        (["Body"], [], "instances", "named structures, no numbered objects"),
    ],
)
def test_contours_that_are_no_truth_of_the_task(contoured, names, labels, kind, said):
    image, path = contoured
    reader = MaskTruthReader(tuple(names), kind, {n: Label(name=name) for n, name in enumerate(labels, 1)})
    with pytest.raises(UnreadableImage, match=said):
        reader(case(mask=path), image)
