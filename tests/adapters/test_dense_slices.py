"""Vision transformers with a decoder for every voxel: a method trains what it says, slices land where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.adapters import dinov2
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.core.slice_grid import SliceGrid
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples.items import answer_to, prepared

SHAPE = (7, 30, 22)  # slices, rows, columns


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small DINOv2 in the hub's own format."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor(crop_size={"height": 56, "width": 56}, size={"shortest_edge": 56}).save_pretrained(folder)
    return str(folder)


def build(weights, method, question, **options):
    settings = AdapterSettings(name="dinov2", weights=weights, method=method, rank=2, blocks=1, options=options)
    prepare = Prepare(size=56)
    dinov2.refuse(settings, [method], prepare, question)
    return dinov2.build(settings, question, method, prepare, windows={}, read={}, train=Train(), seed=0)


def item(channels=1, layers=0):
    rng = np.random.default_rng(0)
    affine = np.array([[0, 0, 2.5, 3], [-1, 0, 0, 4], [0, -1.5, 0, 5], [0, 0, 0, 1.0]])
    grid = SliceGrid.of((SHAPE[2], SHAPE[1], SHAPE[0]), affine, True, "native")
    assert grid.shape == SHAPE
    truth = np.zeros(SHAPE, np.uint8)
    truth[2:5, 8:15, 5:12] = 1
    if layers:
        truth = np.stack([truth > 0] * layers)
    return prepared("c", rng.random((channels, *SHAPE)).astype(np.float16), grid, truth)


@pytest.mark.parametrize("decoder", ["conv", "linear"])
@pytest.mark.parametrize("method", ["dense_head", "lora", "last_blocks", "full"])
def test_a_method_moves_what_it_says_and_nothing_else(checkpoint, method, decoder):
    adapter = build(checkpoint, method, SegmentationTask(("a", "b"), "semantic"), decoder=decoder)
    examples = [adapter.example(item(), np.random.default_rng(n), lambda p, t: (p, t)) for n in range(2)]
    adapter.loss(adapter.collate(examples)).backward()
    for name, parameter in adapter.module.named_parameters():
        in_encoder = name.startswith("encoder.")
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert not (in_encoder and method == "dense_head" and parameter.requires_grad), name
    trained = {n for n, p in adapter.module.named_parameters() if p.requires_grad}
    assert any(n.startswith("decoder.") for n in trained)
    assert (method == "lora") == any(".lora_" in n for n in trained)


def test_slices_land_where_they_belong(checkpoint):
    """A network that answers with the brightness of the middle channel gives back the planted shape."""
    adapter = build(checkpoint, "dense_head", SegmentationTask(("a",), "semantic"))
    one = item()
    planted = prepared("c", one.truth[None].astype(np.float16), one.grid)

    class Bright(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.encoder, self.weight = net.encoder, torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixels):
            mean, std = self.encoder.contract.mean[1], self.encoder.contract.std[1]
            middle = pixels[:, 1:2] * std + mean
            return torch.cat([torch.full_like(middle, 0.5), middle], 1)

    adapter.module = Bright(adapter.module)
    found = answer_to(adapter, planted)
    wanted = one.grid.to_source(one.truth)
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.95
    assert not found[wanted.any(axis=(1, 2)) == 0].any()


def test_overlapping_structures_and_colour(checkpoint):
    adapter = build(checkpoint, "dense_head", SegmentationTask(("a", "b"), "multi_label"))
    example = adapter.example(item(3, 2), np.random.default_rng(0), lambda p, t: (p, t))
    assert example["pixels"].shape == (3, 56, 56) and example["labels"].shape == (2, 56, 56)
    assert torch.isfinite(adapter.loss(adapter.collate([example])))
    assert answer_to(adapter, item(3, 2)).shape == (SHAPE[2], SHAPE[1], SHAPE[0], 2)
