"""Two folders or two tables: what is read, and what is said where they are not two sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medvfm.core import geometry
from medvfm.core.errors import DataError, PredictionError, RecipeError, UnreadableImage
from medvfm.core.image import Image as Image3D
from medvfm.io.writers.nifti import write_nifti
from medvfm.metrics.frechet import fid
from medvfm.models.extractors import volume_slices
from medvfm.models.extractors.load import load_extractor
from medvfm.tasks.generation import given_sets, picture_folders
from medvfm.tasks.generation.picture_folders import pictures_in, read_picture


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("embedded", size_px=64)


def pixels(seed: int, size: tuple[int, int] = (40, 40), colour: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    blob = 120 + 90 * np.exp(-((x - rng.integers(10, 30)) ** 2 + (y - rng.integers(10, 30)) ** 2) / 60)
    noisy = (blob + rng.normal(0, 12, size)).clip(0, 255).astype(np.uint8)
    return np.stack([noisy, noisy[::-1], noisy.T], -1) if colour else noisy


def folder(where, count: int, start: int = 0, **more):
    where.mkdir()
    for n in range(count):
        Image.fromarray(pixels(start + n, **more)).save(where / f"{where.name}{n:03d}.png")
    return where


def tables(tmp_path, n: int = 12, ending: str = "csv", patients: bool = True, d: int = 3):
    rng, files = np.random.default_rng(0), []
    for name in ("a", "b"):
        frame = pd.DataFrame(rng.normal(size=(n, d)), columns=[f"f{i}" for i in range(d)])
        if patients:
            frame.insert(0, "patient_id", [f"{name}p{i // 2}" for i in range(n)])
        frame.insert(0, "case_id", [f"{i:03d}" for i in range(n)])
        files.append(tmp_path / f"{name}.{ending}")
        if ending == "csv":
            frame.to_csv(files[-1], index=False, float_format="%.17g")
        else:
            frame.to_parquet(files[-1])
    return files, np.random.default_rng(0).normal(size=(n, d))


def test_two_folders(tmp_path, extractor):
    a, b = folder(tmp_path / "one", 6), folder(tmp_path / "other", 5, 100)
    found = given_sets.read(a, b, extractor)
    assert found.truth.case_ids == tuple(f"one{n:03d}" for n in range(6))
    assert found.predictions.patients.tolist() == [f"other{n:03d}" for n in range(5)]
    stacked = torch.from_numpy(np.stack([pixels(n) for n in range(6)]))[:, None] / 255
    torch.testing.assert_close(found.truth.features, extractor.features(stacked), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.truth.images(), stacked)
    assert found.extractor is not None and found.extractor["name"] == "embedded"
    assert any("every picture as a patient of its own" in n for n in found.notes)
    assert any("not comparable with Inception FID" in n for n in found.notes)
    assert not any("size" in n.split(":")[0] for n in found.notes)
    assert fid(found.truth.features, given_sets.read(a, a, extractor).predictions.features).item() <= 1e-3


def test_pictures_of_mixed_sizes_and_channels(tmp_path, extractor):
    a = folder(tmp_path / "one", 4)
    Image.fromarray(pixels(9, (60, 60), True)).save(a / "inside.png")
    (a / "deeper").mkdir()
    Image.fromarray(pixels(8, (40, 40), True)).save(a / "deeper" / "x.jpg", quality=95)
    (a / "notes.txt").write_text("no picture")
    (a / ".hidden.png").write_bytes(b"no picture")
    found = given_sets.read(a, folder(tmp_path / "other", 3, 50), extractor)
    assert found.truth.case_ids == ("deeper/x", "inside", "one000", "one001", "one002", "one003")
    one_by_one = [extractor.features(read_picture(f)[None])[0] for f in pictures_in(a).files]
    torch.testing.assert_close(found.truth.features, torch.stack(one_by_one), rtol=1e-4, atol=1e-5)
    assert found.truth.images() is None
    assert found.predictions.images().shape == (3, 1, 40, 40)
    assert any("true 40 x 40 to 60 x 60 px and made 40 x 40 px" in n for n in found.notes)


def test_grey_is_colour_where_there_is_colour(tmp_path):
    a = folder(tmp_path / "one", 3)
    Image.fromarray(pixels(9, (40, 40), True)).save(a / "colour.png")
    images = pictures_in(a).images()
    assert images is not None and images.shape == (4, 3, 40, 40)
    assert torch.equal(images[1, 0], images[1, 2])


def test_batches_keep_the_order(tmp_path, monkeypatch):
    a = folder(tmp_path / "one", 7)
    whole = pictures_in(a)
    assert [len(b) for b in whole.batches(3)] == [3, 3, 1]
    torch.testing.assert_close(torch.cat(list(whole.batches(3))), whole.images())
    assert picture_folders.BATCH == 32


def test_one_image_and_none(tmp_path, extractor):
    a, single = folder(tmp_path / "one", 4), folder(tmp_path / "single", 1)
    with pytest.raises(PredictionError, match=r"single: 1 image in the folder: a set has 2 or more"):
        given_sets.read(a, single, extractor)
    (tmp_path / "none").mkdir()
    with pytest.raises(PredictionError, match="no images in the folder"):
        given_sets.read(a, tmp_path / "none", extractor)


def test_a_file_that_is_no_picture_is_named(tmp_path, extractor):
    a, broken = folder(tmp_path / "one", 4), folder(tmp_path / "broken", 12)
    (broken / "broken003.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImage, match=r"broken003\.png: "):
        given_sets.read(a, broken, extractor)


def test_a_volume_and_two_files_of_one_name_are_refused(tmp_path, extractor):
    import nibabel

    a = folder(tmp_path / "one", 4)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 5), np.uint8), np.eye(4)), a / "volume.nii.gz")
    with pytest.raises(UnreadableImage, match=r"volume.nii.gz: a volume among pictures"):
        given_sets.read(a, a, extractor)
    (a / "volume.nii.gz").unlink()
    Image.fromarray(pixels(0)).save(a / "one000.jpg")
    with pytest.raises(PredictionError, match="two pictures of one name: one000"):
        given_sets.read(a, a, extractor)


def volumes(where, count: int, size: tuple[int, int, int], axes: str = "LPS"):
    """Volumes whose values rise in all three directions, in each otherwise."""
    where.mkdir()
    for n in range(count):
        x, y, z = np.meshgrid(*[np.linspace(0, 1, side) for side in size], indexing="ij")
        rng = np.random.default_rng(n)
        voxels = (300 * x * (n + 1) + 200 * y + 400 * z**2 + rng.normal(0, 20, size)).astype(np.float32)
        image = Image3D(voxels, np.diag([-2.0, -2.0, 3.0, 1.0]))
        turned, affine = geometry.reoriented(image.voxels, image.affine, axes)
        write_nifti(Image3D(np.ascontiguousarray(turned), affine), where / f"{n}.nii.gz")
    return where


def test_two_folders_of_volumes_are_compared_by_slices_of_three_planes(tmp_path, extractor):
    a, b = volumes(tmp_path / "one", 4, (20, 24, 16)), volumes(tmp_path / "other", 3, (16, 16, 12))
    found = given_sets.read(a, b, extractor)
    width = extractor.width
    assert found.truth.features.shape == (4, 3 * width) and found.truth.images().shape == (4, 1, 16, 24, 20)
    one = next(iter(pictures_in(a).batches(1)))
    axial = torch.cat([extractor.features(one[:, :, k]) for k in volume_slices.places(16)]).mean(0)
    sagittal = torch.cat([extractor.features(one[..., k].contiguous()) for k in volume_slices.places(20)]).mean(0)
    torch.testing.assert_close(found.truth.features[0, :width], axial, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.truth.features[0, -width:], sagittal, rtol=1e-4, atol=1e-4)
    notes = " ".join(found.notes)
    assert "every volume" in notes and "16 x 24 x 20 voxels and made 12 x 16 x 16 voxels" in notes
    assert "5 coronal" in found.extractor["of_volumes"]


def test_how_a_volume_is_stored_changes_nothing(tmp_path, extractor):
    one = given_sets.read(
        *[volumes(tmp_path / n, 2, (20, 24, 16), axes) for n, axes in (("a", "LPS"), ("b", "SAR"))], extractor
    )
    torch.testing.assert_close(one.truth.features, one.predictions.features, rtol=1e-4, atol=1e-4)


def test_a_single_slice_along_another_axis_is_no_volume(tmp_path, extractor):
    a = volumes(tmp_path / "one", 3, (20, 24, 16))
    write_nifti(Image3D(np.zeros((1, 20, 20), np.float32), np.eye(4)), a / "flat.nii.gz")
    with pytest.raises(UnreadableImage, match=r"flat\.nii\.gz: a volume of one slice"):
        given_sets.read(a, a, extractor)


def test_pictures_are_not_compared_with_volumes(tmp_path, extractor):
    a, b = folder(tmp_path / "one", 4), volumes(tmp_path / "other", 3, (16, 16, 12))
    with pytest.raises(PredictionError, match="pictures on one side, and volumes on the other"):
        given_sets.read(a, b, extractor)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_two_tables(tmp_path, ending):
    (a, b), expected = tables(tmp_path, ending=ending)
    found = given_sets.read(a, b)
    assert found.truth.features.dtype == torch.float64
    np.testing.assert_array_equal(found.truth.features.numpy(), expected)  # to the last digit
    assert found.truth.case_ids[7] == "007" and found.predictions.patients[7] == "bp3"
    assert found.extractor is None and found.truth.images() is None
    assert found.notes == ()


def test_a_table_of_more_images_than_cases_and_without_patients(tmp_path):
    (a, b), _ = tables(tmp_path, patients=False)
    twice = pd.concat([pd.read_csv(b, dtype={"case_id": str})] * 2)
    found = given_sets.read(pd.read_csv(a, dtype={"case_id": str}), twice)
    assert len(found.predictions.features) == 24 and len(set(found.predictions.patients)) == 12
    assert found.notes == (
        "The truth and the predictions name no patients: intervals take every case as a patient of its own.",
    )
    with pytest.raises(PredictionError, match="occur more than once"):
        given_sets.read(twice, pd.read_csv(a))


def test_columns_may_stand_in_another_order(tmp_path):
    (a, b), _ = tables(tmp_path)
    frame = pd.read_csv(b, dtype=str)
    shuffled = given_sets.read(a, frame[["f2", "case_id", "f0", "patient_id", "f1"]])
    np.testing.assert_array_equal(shuffled.predictions.features, given_sets.read(a, b).predictions.features)


def test_decimal_commas_between_semicolons(tmp_path):
    (a, b), expected = tables(tmp_path)
    pd.read_csv(a).to_csv(a, index=False, sep=";", decimal=",", float_format="%.17g")
    np.testing.assert_allclose(given_sets.read(a, b).truth.features.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(f1=f.f1.astype(object).where(f.index != 4, "x")), r"'x' in column 'f1' is no number"),
        (lambda f: f.assign(f1=f.f1.where(f.index != 4)), r"line 6: the feature 'f1' is empty"),
        (lambda f: f.assign(f1=f.f1.where(f.index != 4, np.inf)), r"'inf' in column 'f1' is no number"),
        (lambda f: f.drop(columns="f1"), r"b.csv: no column f1, which the other table has"),
        (lambda f: f.assign(sex="F"), r"a.csv: no column sex, which the other table has"),
        (lambda f: f[["case_id", "patient_id"]], r"no column of a feature"),
        (lambda f: f[:1], r"b.csv: 1 image in the table"),
        (lambda f: f[:0], r"headings and no rows"),
        (lambda f: f.drop(columns="case_id"), r"no column case_id"),
        (lambda f: f.assign(patient_id=f.patient_id.where(f.index != 4)), r"line 6: patient_id is empty"),
    ],
)
def test_tables_that_hold_no_sets(tmp_path, change, said):
    (a, b), _ = tables(tmp_path)
    change(pd.read_csv(b, dtype={"case_id": str})).to_csv(b, index=False)
    with pytest.raises(PredictionError, match=said):
        given_sets.read(a, b)


def test_a_folder_beside_a_table_and_a_wrong_extractor(tmp_path):
    (a, _), _ = tables(tmp_path)
    with pytest.raises(PredictionError, match="truth: one side is a folder of pictures"):
        given_sets.read(a, folder(tmp_path / "one", 3))
    with pytest.raises(RecipeError, match="no extractor 'incepton'"):
        given_sets.read(tmp_path / "one", tmp_path / "one", "incepton")
    with pytest.raises(DataError, match="no such table"):
        given_sets.read(a, tmp_path / "absent.csv")
