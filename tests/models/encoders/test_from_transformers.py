"""Encoders in transformers' format against transformers' own processor and model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.load import load_encoder
from tests.samples.encoder_checkpoints import checkpoints

NAMES = [
    "dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "vit", "vit_mae", "swin", "siglip",
    "siglip2", "clip",
]  # fmt: skip


@pytest.fixture(scope="module")
def specs():
    return checkpoints()


def theirs(name, folder, specs, picture, backend="torchvision"):
    """transformers alone: its processor, its model. Returns its inputs and its outputs."""
    from transformers import AutoImageProcessor

    _, kind, options, _ = specs[name]
    options = dict(options)
    model = kind.from_pretrained(folder, **{k: v for k, v in options.items() if k != "mask_ratio"}).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    inputs = processor(images=Image.fromarray(picture).convert("RGB"), return_tensors="pt")
    if "mask_ratio" in options:
        model.config.mask_ratio = 0.0
        inputs["noise"] = torch.arange(16.0)[None]
    with torch.no_grad():
        return inputs, model(**inputs)


@pytest.mark.parametrize("picture", ["photograph", "radiograph"])
@pytest.mark.parametrize("name", NAMES)
def test_features_equal_those_of_the_models_own_processor(name, picture, published, specs, request, as_pictures):
    picture = request.getfixturevalue(picture)
    if name == "siglip2":  # NaFlex keeps the aspect ratio; here it is given the square that the contract fixes
        picture = picture[:256, :256]
    folder = published[name]
    inputs, outputs = theirs(name, folder, specs, picture)
    encoder = load_encoder(str(folder))
    with torch.no_grad():
        pixels = encoder.contract.apply(as_pictures(picture))
        ours = encoder(pixels)
    tokens = outputs.last_hidden_state
    if name != "siglip2":
        # Their resize rounds, and clips overshoot, to 8 bits after each of its two passes; ours once, without rounding.
        std = torch.tensor(encoder.contract.std).view(1, 3, 1, 1)
        levels = (pixels - inputs["pixel_values"]).abs() * std * 255
        assert levels.max() < 2.5 and levels.mean() < 0.35
        with torch.no_grad():
            exact = encoder(inputs["pixel_values"])
        cls = outputs.pooler_output if name in ("siglip", "clip") else tokens[:, 0]
        if name == "swin":
            assert exact.cls is None
        else:
            torch.testing.assert_close(exact.cls, cls, rtol=0, atol=2e-5)
    patches = tokens[:, -ours.patches[0, 0].numel() :]
    assert ours.patches.shape[1] == encoder.width
    close = torch.nn.functional.cosine_similarity(ours.patches.flatten(2).transpose(1, 2), patches, dim=-1)
    assert close.min() > 0.999
    assert torch.nn.functional.cosine_similarity(ours.pooled, patches.mean(1)).min() > 0.9995


@pytest.mark.parametrize("backend", ["torchvision", "pil"])
@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (61, 97), (50, 50)])
def test_odd_shapes_are_fitted_as_transformers_does(shape, backend, published, specs, photograph, as_pictures):
    picture = photograph[: shape[0], : shape[1]] if shape[0] < 428 else np.rot90(photograph).copy()
    for name in ("dinov2", "vit"):
        inputs, _ = theirs(name, published[name], specs, picture, backend)
        contract = load_encoder(str(published[name])).contract
        ours = contract.apply(as_pictures(picture))
        levels = (ours - inputs["pixel_values"]).abs() * torch.tensor(contract.std).view(1, 3, 1, 1) * 255
        assert levels.max() < 2.5 and levels.mean() < 0.5, name


@pytest.mark.parametrize("name", NAMES)
def test_heads_are_left_by_declaration_and_nothing_else_is(name, published, tmp_path):
    folder = tmp_path / name
    shutil.copytree(published[name], folder)
    state = load_file(folder / "model.safetensors")
    save_file({**state, "surprise.weight": torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"not used by the model \(such as surprise.weight"):
        load_encoder(str(folder))
    lost = next(key for key in state if "norm" in key and not key.startswith(("text_model", "decoder")))
    state.pop(lost)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="missing"):
        load_encoder(str(folder))


def test_a_dino_head_beside_the_encoder_is_declared(published, tmp_path):
    shutil.copytree(published["dinov2"], tmp_path / "rad")
    file = tmp_path / "rad" / "model.safetensors"
    state = {**load_file(file), "dino_head.mlp.0.weight": torch.zeros(2, 2)}
    save_file(state, file, {"format": "pt"})
    assert load_encoder(str(tmp_path / "rad")).weights_record["keys_left_unused"] == ["classifier", "dino_head"]


def test_weights_of_another_shape_are_refused(published, tmp_path):
    shutil.copytree(published["vit"], tmp_path / "vit")
    config = json.loads((tmp_path / "vit" / "config.json").read_text())
    (tmp_path / "vit" / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    with pytest.raises(WeightsError):
        load_encoder(str(tmp_path / "vit"))


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_interpolate_positions(name, published, photograph, as_pictures):
    step = 14 if name.startswith("dinov2") else 16
    encoder = load_encoder(str(published[name]), size_px=step * 6)
    assert encoder.contract.size_px == (step * 6, step * 6)
    with torch.no_grad():
        pixels = encoder.contract.apply(as_pictures(photograph))
        features, levels = encoder(pixels), encoder.pyramid(pixels)
    assert len(levels) == 4
    if name == "swin":
        assert [level.shape[1:] for level in levels] == [(16, 24, 24), (32, 12, 12), (64, 6, 6), (128, 3, 3)]
    elif name == "dinov3_convnext":
        assert [level.shape[1:] for level in levels] == [(8, 24, 24), (16, 12, 12), (32, 6, 6), (48, 3, 3)]
        assert features.patches.shape == (1, 48, 3, 3)
    else:
        assert features.patches.shape[2:] == (6, 6) and levels[0].shape == (1, 48, 6, 6)
    assert torch.isfinite(features.pooled).all()


def test_the_scales_of_dinov3_convnext_are_its_hidden_states(published):
    from transformers import DINOv3ConvNextModel

    encoder = load_encoder(str(published["dinov3_convnext"]))
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = DINOv3ConvNextModel.from_pretrained(published["dinov3_convnext"]).eval()
        stages = plain(pixels, output_hidden_states=True).hidden_states[-4:]
        for ours, theirs in zip(encoder.pyramid(pixels), stages, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="take a multiple of 32, such as 96"):
        load_encoder(str(published["dinov3_convnext"]), size_px=100)


@pytest.mark.parametrize("size_px", [64, 96])
def test_swin_equals_transformers_at_other_sizes(size_px, published):
    from transformers import SwinModel

    encoder = load_encoder(str(published["swin"]), size_px=size_px)
    pixels = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = SwinModel.from_pretrained(published["swin"]).eval()(pixels)
        ours = encoder(pixels)
        torch.testing.assert_close(ours.pooled, plain.pooler_output, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.patches.flatten(2).mT, plain.last_hidden_state, rtol=0, atol=1e-5)


def test_swin_takes_maps_smaller_than_its_window(published):
    """transformers itself fails there."""
    encoder = load_encoder(str(published["swin"]), size_px=32)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert encoder(pixels).patches.shape == (2, 128, 1, 1)
        again = encoder(pixels).pooled
        encoder(torch.randn(1, 3, 64, 64))
        torch.testing.assert_close(encoder(pixels).pooled, again)


def test_levels_are_hidden_states(published, photograph, as_pictures):
    """Four evenly spaced blocks of five: the second, third, fourth and last, as transformers itself reports them."""
    encoder = load_encoder(str(published["dinov2"]))
    pixels = encoder.contract.apply(as_pictures(photograph))
    with torch.no_grad():
        states = encoder.backbone(pixels, output_hidden_states=True).hidden_states
        levels = encoder.pyramid(pixels)
    expected = [states[i][:, 1:].transpose(1, 2).reshape(1, 48, 5, 5) for i in (1, 2, 4, 5)]
    for level, state in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, state)


def test_rows_run_from_top_to_bottom(published):
    """A bright square in the upper right moves the upper right patches most."""
    encoder = load_encoder(str(published["vit_mae"]))
    dark, bright = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    bright[..., :16, 48:] = 3.0
    with torch.no_grad():
        moved = (encoder.pyramid(bright)[0] - encoder.pyramid(dark)[0]).norm(dim=1)[0]
    assert moved.argmax() == 3


def test_a_size_that_cuts_patches_is_refused(published):
    with pytest.raises(WeightsError, match="multiple of 14, such as 98"):
        load_encoder(str(published["dinov2"]), size_px=100)


def test_what_is_not_an_image_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "dinov4"}')
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="dinov2"):
        load_encoder(str(tmp_path))


def test_remote_code_is_refused(published, tmp_path):
    shutil.copytree(published["vit"], tmp_path / "vit")
    processor = {"image_processor_type": "Mine", "auto_map": {"AutoImageProcessor": "mine.Mine"}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "vit" / "mine.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(WeightsError, match="processor"):
        load_encoder(str(tmp_path / "vit"))


def test_without_a_processor_the_familys_published_contract_holds(published, tmp_path):
    shutil.copytree(published["dinov2"], tmp_path / "bare", ignore=shutil.ignore_patterns("pre*"))
    contract = load_encoder(str(tmp_path / "bare")).contract
    assert contract.size_px == (70, 70) and contract.resize_px == (80, 80) and contract.interpolation == "bicubic"
    assert "published" in contract.origin and contract.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_can_be_moved_by_the_features(name, published):
    encoder = load_encoder(str(published[name]))
    assert encoder.unused() == []
    heads = {"siglip": 11, "siglip2": 11, "clip": 2}.get(name, 0)  # read by cls alone
    assert len(encoder.unused(lambda pixels: [encoder(pixels).pooled])) == heads
