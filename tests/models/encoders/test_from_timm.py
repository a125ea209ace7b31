"""timm's models against timm's own transform and pooled features."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_timm import timm_contract
from medvfm.models.encoders.load import load_encoder

SMALL_VIT = {"depth": 4, "embed_dim": 48, "num_heads": 4}
MODELS = {
    "vit_tiny_patch16_224": SMALL_VIT,
    "vit_base_patch16_siglip_224": SMALL_VIT,
    "vit_small_patch14_reg4_dinov2": {**SMALL_VIT, "img_size": 70},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": [1, 1, 2, 1]},
    "resnet10t": {},
    "convnext_atto": {},
}


@pytest.mark.parametrize("architecture", MODELS)
def test_features_are_those_that_timm_pools(architecture, timm_folder, photograph, as_pictures):
    folder, model = timm_folder(architecture, **MODELS[architecture])
    encoder = load_encoder(str(folder), size_px=70 if "img_size" in MODELS[architecture] else None)
    pixels = encoder.contract.apply(as_pictures(photograph))
    model.reset_classifier(0)
    with torch.no_grad():
        ours, theirs, levels = encoder(pixels), model(pixels), encoder.pyramid(pixels)
    assert len(levels) == 4
    if architecture == "convnext_atto":  # timm pools first and normalises then; the map that we give is not normalised
        assert ours.pooled.shape == theirs.shape
    else:
        own = ours.pooled if ours.cls is None else ours.cls
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)
    if ours.cls is None:
        assert [level.shape[2] for level in levels] == [-(-pixels.shape[2] // step) for step in (4, 8, 16, 32)]
        torch.testing.assert_close(levels[-1].shape, ours.patches.shape)
    else:
        assert ours.patches.shape == levels[0].shape


@pytest.mark.parametrize(
    ("mode", "crop_pct"),
    [("center", 0.875), ("center", 1.0), ("squash", 1.0), ("squash", 0.9), ("border", 1.0), ("border", 0.6)],
)
@pytest.mark.parametrize("turned", [False, True])
def test_contract_is_timms_transform(mode, crop_pct, turned, photograph, as_pictures):
    picture = photograph.transpose(1, 0, 2).copy() if turned else photograph
    config = {
        **resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("resnet10t").to_dict()),
        "input_size": (3, 97, 97),
        "interpolation": "bicubic",
        "crop_mode": mode,
        "crop_pct": crop_pct,
    }
    theirs = create_transform(**config)(Image.fromarray(picture))[None]
    contract = timm_contract(config)
    ours = contract.apply(as_pictures(picture))
    levels = (ours - theirs).abs() * torch.tensor(contract.std).view(1, 3, 1, 1) * 255
    if (
        mode == "border"
    ):  # timm fills the border with the mean, or with black, by option; compare what holds the picture
        levels = levels[..., 20:-20, 20:-20]
    assert levels.mean() < 0.5 and levels.max() < 3


@pytest.mark.parametrize(
    ("architecture", "size_px"),
    [("vit_tiny_patch16_224", 96), ("swin_tiny_patch4_window7_224", 192), ("resnet10t", 100)],
)
def test_other_sizes(architecture, size_px, timm_folder):
    folder, _ = timm_folder(architecture, **MODELS[architecture])
    encoder = load_encoder(str(folder), size_px=size_px)
    assert encoder.contract.size_px == (size_px, size_px)
    with torch.no_grad():
        assert torch.isfinite(encoder(torch.randn(2, 3, size_px, size_px)).pooled).all()


def test_last_stage_drops_what_follows_it(timm_folder):
    folder, model = timm_folder("tf_efficientnet_lite0")
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    encoder = load_encoder(str(folder), size_px=96, features="last_stage")
    with torch.no_grad():
        expected = model.blocks(model.bn1(model.conv_stem(pixels)))
        torch.testing.assert_close(encoder(pixels).patches, expected, rtol=1e-3, atol=1e-4)
    assert encoder.width == 320 and encoder.unused() == [] and encoder.weights_record["features"] == "last_stage"
    assert load_encoder(str(folder), size_px=96).width == 1280


def test_keys_are_accounted_for(timm_folder):
    folder, _ = timm_folder("resnet10t")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "resnet18"}))
    with pytest.raises(WeightsError, match="keys do not fit"):
        load_encoder(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "resnet10x"}))
    with pytest.raises(WeightsError, match="no architecture"):
        load_encoder(str(folder))


def test_a_misspelt_timm_name_is_refused():
    with pytest.raises(WeightsError, match="vit_tiny_patch16_224"):
        load_encoder("timm:vit_tiny_patch16_225")
