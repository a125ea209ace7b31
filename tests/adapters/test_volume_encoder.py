"""A 3D encoder in CT-FM's hub layout, against MONAI's transforms and network as its authors call them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from monai import transforms as M
from monai.networks.nets.segresnet_ds import SegResEncoder

import medvfm
from medvfm import pipeline
from medvfm.adapters import volume_encoder
from medvfm.core import recipe
from medvfm.core.errors import RecipeError, UnreadableImage, WeightsError
from medvfm.core.recipe_sections import AdapterSettings, Prepare
from medvfm.models.encoders.volumes import CT_FM, load_volume_encoder
from medvfm.models.inputs.volume_contract import body_box, tile_starts, tiles
from medvfm.models.inputs.whole_volumes import ORIENTATION, WholeVolumePreparer


class Published(SegResEncoder, PyTorchModelHubMixin):
    """What lighter-zoo makes of MONAI's class, so that hub folders are written by the hub's own library."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Published(spatial_dims=3, in_channels=1, init_filters=4, blocks_down=[1, 2, 1])
        for name, value in model.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.copy_(0.3 * torch.randn_like(value))
    place = tmp_path_factory.mktemp("ct_fm")
    model.eval().save_pretrained(place)
    return place, model


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A small CT, its axes to the left, front and head, 1 x 1 x 3 mm, with air around a body."""
    rng = np.random.default_rng(0)
    voxels = np.full((40, 36, 12), -1000, np.int16)
    voxels[6:30, 5:31, 2:10] = rng.integers(1, 900, (24, 26, 8))
    file = tmp_path_factory.mktemp("scan") / "ct.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1.0, 3.0, 1.0])), file)
    return file


def as_published(file, model):
    """Volume and features of CT-FM's page: orientation, crop, intensities, network, mean of the last map."""
    compose = M.Compose([
        M.LoadImage(image_only=True), M.EnsureChannelFirst(), M.Orientation(axcodes="SPL", labels=None),
        M.CropForeground(allow_smaller=True),
        M.ScaleIntensityRange(a_min=-1024, a_max=2048, b_min=0, b_max=1, clip=True),
    ])  # fmt: skip
    volume = torch.as_tensor(np.asarray(compose(str(file))))
    padded = torch.zeros(1, *CT_FM.tile_vox)  # what pretraining does with smaller volumes, in the middle
    low = [(side - have) // 2 for side, have in zip(CT_FM.tile_vox, volume.shape[1:], strict=True)]
    inside = tuple(slice(at, at + have) for at, have in zip(low, volume.shape[1:], strict=True))
    padded[(slice(None), *inside)] = volume
    with torch.no_grad():
        return volume[0].numpy(), model(padded[None])[-1].mean((2, 3, 4))[0].numpy()


def test_features_are_those_of_the_authors_pipeline(folder, scan):
    place, model = folder
    expected_volume, expected = as_published(scan, model)
    adapter = medvfm.load_adapter("volume_encoder", weights=str(place))
    image = medvfm.read_image(scan, unit="HU")
    found = adapter.preparer.of_image(image)
    assert found.shape == (8, 1, 26, 24)
    np.testing.assert_allclose(found[:, 0], expected_volume, atol=5e-4)
    vectors = adapter.encode([image])
    assert vectors.shape == (1, 16)
    np.testing.assert_allclose(vectors[0], expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


def test_orientation_is_the_same_however_a_file_stores_it(scan, tmp_path):
    stored = nib.load(scan)
    turned = nib.as_closest_canonical(stored)
    other = nib.Nifti1Image(np.asarray(turned.dataobj).transpose(2, 0, 1), turned.affine[:, [2, 0, 1, 3]])
    nib.save(other, tmp_path / "turned.nii.gz")
    preparer = WholeVolumePreparer(CT_FM, Prepare())
    one, two = (preparer.of_image(medvfm.read_image(f, unit="HU")) for f in (scan, tmp_path / "turned.nii.gz"))
    np.testing.assert_array_equal(one, two)
    assert CT_FM.orientation == ORIENTATION == "SPL"


def test_what_is_no_ct_needs_a_window(scan):
    preparer = WholeVolumePreparer(CT_FM, Prepare())
    with pytest.raises(UnreadableImage, match=r"takes values in HU.*prepare\.windows"):
        preparer.of_image(medvfm.read_image(scan))
    own = WholeVolumePreparer(CT_FM, Prepare(windows=(0.0, 1000.0), spacing=(3.0, 2.0, 2.0)))
    assert own.of_image(medvfm.read_image(scan)).shape == (12, 1, 18, 20)
    assert own.key() != preparer.key()
    flat = medvfm.Image.from_array(np.zeros((8, 8), np.uint8))
    with pytest.raises(UnreadableImage, match="adapter dinov2 for pictures"):
        preparer.of_image(flat)


def test_tiles_cover_a_volume_once_or_more_and_pad_a_small_one():
    assert tile_starts(10, 16) == [0] and tile_starts(32, 16) == [0, 16] and tile_starts(40, 16) == [0, 12, 24]
    volume = torch.arange(5 * 9 * 4).float().view(5, 9, 4) + 1
    found = tiles(volume, (8, 4, 4))
    assert found.shape == (3, 1, 8, 4, 4)
    assert set(volume.unique().tolist()) == set(found.unique().tolist()) - {0.0}
    box = body_box(np.pad(np.ones((2, 3, 1)), 2), 0.5)
    assert box == (slice(2, 4), slice(2, 5), slice(2, 3)) and body_box(np.zeros((2, 2, 2)), 0.5)[0] == slice(None)


def test_weights_of_another_kind_are_refused(folder, tmp_path):
    place, _ = folder
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    (tmp_path / "model.safetensors").write_bytes((place / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="see pictures, not volumes"):
        load_volume_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"blocks": 3}')
    with pytest.raises(WeightsError, match="holds blocks"):
        load_volume_encoder(str(tmp_path))


def test_what_it_cannot_do_is_said_before_data_are_read():
    settings = AdapterSettings(name="volume_encoder", weights="tiny")
    three = ((-1024.0, 1024.0), (-135.0, 215.0), (0.0, 80.0))
    for prepare, said in ((Prepare(windows=three), "colours of pictures"), (Prepare(spacing=(1.0,)), "three distan")):
        with pytest.raises(RecipeError, match=said):
            volume_encoder.refuse(settings, ["knn"], prepare, None)


@pytest.mark.slow
def test_a_study_of_volumes_runs_to_its_report(tmp_path):
    data = {
        "title": "volumes", "data": {"card": "virtual_brain", "options": {"patients": 12}},
        "prepare": {"windows": {"percentiles": [0.5, 99.5]}, "spacing": [3, 3, 6]},
        "task": {"name": "classification", "classes": ["lesion"]},
        "adapter": {"name": "volume_encoder", "weights": "tiny", "method": "linear_probe"},
        "evaluate": {"metrics": ["auroc"]},
    }  # fmt: skip
    run = pipeline.run(recipe.from_data(data, "test"), out=tmp_path / "run")
    row = next(r for r in run.record["metrics"] if r["metric"] == "auroc" and r["split"] == "test")
    assert row["cases"] and row["value"] is not None
    page = " ".join((tmp_path / "run" / "report.html").read_text(encoding="utf-8").split())
    assert "in tiles of 16 × 32 × 32 voxels whose features were averaged" in page
