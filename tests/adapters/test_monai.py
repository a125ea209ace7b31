"""The adapter monai: bundles are read and never run, patches hold what they should, windows meet without a seam."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medvfm.adapters import monai
from medvfm.core.errors import RecipeError, WeightsError
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.core.slice_grid import SliceGrid
from medvfm.models import monai_networks
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples.items import answer_to, prepared

QUESTION = SegmentationTask(("ball",), "semantic")
DEFINITION = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    """A bundle as MONAI lays it out, and its network."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    network = UNet(**{k: v for k, v in DEFINITION.items() if k != "_target_"}).eval()
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(json.dumps({"network_def": DEFINITION}))
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    return tmp_path, network


def adapter(weights=None, method="full", **options):
    settings = AdapterSettings(name="monai", weights=weights, options=options)
    monai.refuse(settings, [method], Prepare(), QUESTION)
    return monai.build(settings, QUESTION, method, Prepare(), windows={}, read={}, train=Train(), seed=0)


def item(shape=(20, 24, 18), truth=True):
    rng = np.random.default_rng(0)
    grid = SliceGrid.of(shape[::-1], np.diag([-1.0, -1, 2, 1]), True, "axial")
    labels = np.zeros(shape, np.uint8)
    labels[4:7, 10:14, 3:6] = 1
    pixels = (rng.random((1, *shape)) + labels).astype(np.float16) / 2
    return prepared("c", pixels, grid, labels if truth else None)


def test_a_bundle_gives_what_its_network_gives(bundle):
    folder, network = bundle
    found = adapter(str(folder), "zero_shot", patch=[32, 32, 32])
    one = item(truth=False)
    pixels = np.asarray(one.pixels[0], np.float32)
    padded = torch.zeros(1, 1, 32, 32, 32)
    at = [(32 - n) // 2 for n in one.grid.shape]  # MONAI pads a small volume on both sides
    box = tuple(slice(a, a + n) for a, n in zip(at, one.grid.shape, strict=True))
    padded[(0, 0, *box)] = torch.from_numpy((pixels - pixels.mean()) / pixels.std())
    with torch.inference_mode():
        logits = network(padded)[(0, slice(None), *box)].numpy()
    wanted = one.grid.to_source(logits.argmax(axis=0).astype(np.uint8))
    assert (answer_to(found, one) == wanted).mean() > 0.995
    assert 0 < wanted.mean() < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_target_": "os.system"}, "is not supported"),
        ({"_target_": "UNett"}, "did you mean 'UNet'"),
        ({"in_channels": "$__import__('os').system('true')"}, "no code of a bundle is run"),
        ({"channels": [4, 16]}, "shape"),
    ],
)
def test_a_bundle_that_would_run_code_or_does_not_fit_is_refused(bundle, change, said):
    folder, _ = bundle
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": {**DEFINITION, **change}}))
    with pytest.raises(WeightsError, match=said):
        adapter(str(folder), "zero_shot")


def test_a_folder_that_is_no_bundle_and_one_without_weights(bundle, tmp_path_factory):
    with pytest.raises(WeightsError, match=r"configs/inference\.json"):
        monai_networks.from_bundle(str(tmp_path_factory.mktemp("empty")))
    (bundle[0] / "models" / "model.pt").unlink()
    with pytest.raises(WeightsError, match="no weights"):
        monai_networks.from_bundle(str(bundle[0]))


@pytest.mark.parametrize("network", ["unet", "segresnet", "dynunet", "swin_unetr"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_takes_its_patch(network, dims):
    patch = [64] * dims if network == "swin_unetr" else [16] * dims
    found = adapter(network=network, dims=dims, patch=patch, width=8)
    example = found.example(item(), np.random.default_rng(0), lambda pixels, labels: (pixels, labels))
    batch = found.collate([example] * (2 if dims == 2 else 1))  # a volume costs more
    loss = found.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)


def test_two_of_three_patches_hold_a_structure_and_the_border_is_ignored():
    found = adapter(patch=[16, 16, 16])
    rng = np.random.default_rng(0)
    held = [(found.example(item(), rng, lambda p, t: (p, t))["labels"] == 1).any().item() for _ in range(60)]
    assert 36 <= sum(held) <= 60
    small = found.example(item((10, 12, 9)), rng, lambda p, t: (p, t))
    inside = small["labels"][3:13, 2:14, 3:12]  # in the middle, as the sliding window puts a small volume
    assert (inside < 2).all() and (small["labels"] == 255).sum() == 16**3 - 10 * 12 * 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": [20, 16, 16]}, "multiple of 16"),
        ({"network": "unett"}, "network"),
        ({"pach": [16, 16, 16]}, "did you mean 'patch'"),
        ({"roles": ["t1", "t2"], "channels": 3}, "2 roles and 3 channels"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        adapter(**options)


@pytest.mark.parametrize(
    ("channels", "shape", "options", "dims", "patch"),
    [
        (1, (1, 200, 300), {}, 2, (128, 128)),
        (3, (1, 28, 28), {}, 2, (32, 32)),
        (1, (12, 60, 70), {}, 3, (16, 48, 48)),
        (2, (80, 80, 80), {"network": "dynunet"}, 3, (48, 48, 48)),
        (1, (1, 10, 10), {}, 2, (16, 32)),
        (1, (30, 64, 64), {"dims": 2}, 2, (64, 64)),
        (1, (1, 90, 90), {"patch": [64, 64]}, 2, (64, 64)),
    ],
)
def test_what_the_options_leave_open_comes_from_the_first_case(tmp_path, channels, shape, options, dims, patch):
    found = adapter(**options)
    grid = SliceGrid.of(shape[::-1], np.diag([-1.0, -1, 2, 1]), True, "axial")
    pixels = np.random.default_rng(0).random((channels, *shape)).astype(np.float16)
    said = found.settle(prepared("c", pixels, grid, None))
    assert said.startswith(f"{dims}D network, patches of {' x '.join(map(str, patch))}, {channels} channel")
    network = found.record()["network"]
    assert (network["dims"], tuple(network["patch"]), network["channels"]) == (dims, patch, channels)
    with torch.inference_mode():
        assert found.module.eval()(torch.zeros(2, channels, *patch)).shape == (2, 2, *patch)
    found.save(tmp_path)
    again = adapter(**options)  # a finished run stands alone: it knows what was chosen
    again.load(tmp_path)
    assert again.record()["network"] == network


def test_what_the_options_say_is_left_as_it_is():
    found = adapter(patch=[32, 32, 32], dims=3, channels=1)
    before = found.record()
    assert found.settle(item()) == "" and found.record() == before


def test_zero_shot_needs_a_bundle_and_objects_another_adapter():
    with pytest.raises(RecipeError, match="bundle"):
        adapter(method="zero_shot")
    with pytest.raises(RecipeError, match="objects apart"):
        monai.refuse(AdapterSettings(name="monai"), ["full"], Prepare(), SegmentationTask(("nucleus",), "instances"))
