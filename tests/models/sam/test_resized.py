"""Segmenters at another size than their own, beside transformers' models that are configured for that size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as T
from safetensors.torch import load_file, save_file
from torch.nn import functional

from medvfm.models.sam.load import load_segmenter
from medvfm.nn.prompts import Prompts
from tests.samples.sam_models import DECODER, HIERA, PROMPT, SIDE, VISION, perturbed

BOX = torch.tensor([[20.0, 30.0, 70.0, 90.0]])
GIVEN = Prompts(torch.zeros(1, dtype=torch.long), BOX)


def sam2_config(side: int) -> T.Sam2Config:
    grid = side // 4
    vision = {
        "backbone_config": {**HIERA, "image_size": [side, side]}, "backbone_channel_list": [128, 64, 32, 16],
        "fpn_hidden_size": 32, "backbone_feature_sizes": [[grid, grid], [grid // 2] * 2, [grid // 4] * 2],
    }  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": side, "patch_size": 16, "mask_input_channels": 16}
    return T.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    sam, sam2 = tmp_path_factory.mktemp("sam"), tmp_path_factory.mktemp("sam2")
    config = T.SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER)
    perturbed(T.SamModel(config)).save_pretrained(sam)
    perturbed(T.Sam2Model(sam2_config(SIDE))).save_pretrained(sam2)
    return {"sam": sam, "medsam": sam, "sam2": sam2}


@pytest.fixture
def pictures():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 96, 120), np.float32))


def at_twice_the_size(folder, into):
    """The same weights in a folder whose configuration says 128 px, its positions interpolated here."""
    state = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = config["prompt_encoder_config"]["image_size"] = 2 * SIDE
    config["prompt_encoder_config"]["image_embedding_size"] = 2 * SIDE // 16
    key = "vision_encoder.pos_embed"
    state[key] = functional.interpolate(state[key].permute(0, 3, 1, 2), scale_factor=2, mode="bilinear").permute(
        0, 2, 3, 1
    )
    for name in [n for n in state if "layers.1.attn.rel_pos" in n]:  # of the block that attends to the whole picture
        table = state[name].T[None]
        state[name] = functional.interpolate(table, size=2 * (2 * SIDE // 16) - 1, mode="linear")[0].T
    into.mkdir()
    (into / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in state.items()}, into / "model.safetensors", metadata={"format": "pt"})
    return into


def answered(segmenter, pictures):
    with torch.inference_mode():
        return segmenter.decode(segmenter.encode(pictures), GIVEN).logits


@pytest.mark.parametrize("contract", ["sam", "medsam"])
def test_sam_at_twice_its_size_equals_a_model_that_is_configured_so(folders, pictures, tmp_path, contract):
    theirs = load_segmenter(str(at_twice_the_size(folders[contract], tmp_path / "large")), contract=contract)
    ours = load_segmenter(str(folders[contract]), contract=contract, size_px=2 * SIDE)
    assert (ours.frame.side_px, ours.frame.native_px) == (2 * SIDE, SIDE)
    torch.testing.assert_close(answered(ours, pictures), answered(theirs, pictures), atol=1e-4, rtol=1e-4)


def test_sam2_at_twice_its_size_equals_a_model_that_is_configured_so(folders, pictures, tmp_path):
    large = T.Sam2Model(sam2_config(2 * SIDE))
    large.load_state_dict(T.Sam2Model.from_pretrained(folders["sam2"]).state_dict())
    large.save_pretrained(tmp_path / "large")
    theirs = load_segmenter(str(tmp_path / "large"))
    ours = load_segmenter(str(folders["sam2"]), size_px=2 * SIDE)
    torch.testing.assert_close(answered(ours, pictures), answered(theirs, pictures), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("contract", ["sam", "medsam", "sam2"])
def test_at_its_own_size_nothing_changes(folders, pictures, contract):
    own = load_segmenter(str(folders[contract]), contract=contract)
    same = load_segmenter(str(folders[contract]), contract=contract, size_px=SIDE)
    assert same.frame == own.frame
    torch.testing.assert_close(answered(same, pictures), answered(own, pictures), rtol=0, atol=0)


def test_the_longest_side_has_the_size_and_the_rest_is_padding(folders):
    segmenter = load_segmenter(str(folders["sam"]), contract="sam", size_px=100)
    frame = segmenter.frame
    assert (frame.side_px, frame.inner_px((96, 120)), frame.input_px((96, 120))) == (112, (80, 100), (112, 112))
    pixels = frame.pixels(torch.ones(1, 1, 96, 120))
    assert pixels.shape == (1, 3, 112, 112) and (pixels[..., 80:, :] == 0).all() and (pixels[..., 100:] == 0).all()
    assert (pixels[..., :80, :100] != 0).all()
    moved = frame.prompts(GIVEN, (96, 120))
    torch.testing.assert_close(moved.boxes_px, BOX * 100 / 120)


@pytest.mark.parametrize("size", [40, 200])
def test_the_small_network_draws_in_a_box_whatever_the_size(size):
    """Untrained it draws the ellipse in the box: in the picture's own pixels, and about as large, at every size."""
    own = answered(load_segmenter("tiny"), torch.rand(1, 1, 96, 120)) > 0
    resized = load_segmenter("tiny", size_px=size)
    found = answered(resized, torch.rand(1, 1, 96, 120)) > 0
    assert found.shape == own.shape == (1, 96, 120)
    assert 2 * (found & own).sum() / (found.sum() + own.sum()) > 0.95
    assert resized.frame.as_record()["longest_px"] == size
    assert "longest_px" not in load_segmenter("tiny").frame.as_record()
