"""timm's models against timm's own transform and pooled features."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from medvfm.core.errors import WeightsError
from medvfm.models import catalogue
from medvfm.models.encoders import timm_arguments
from medvfm.models.encoders.from_timm import timm_contract
from medvfm.models.encoders.load import load_encoder

SMALL_VIT = {"depth": 4, "embed_dim": 48, "num_heads": 4}
MODELS = {
    "vit_tiny_patch16_224": SMALL_VIT,
    "vit_base_patch16_siglip_224": SMALL_VIT,
    "vit_small_patch14_reg4_dinov2": {**SMALL_VIT, "img_size": 70},
    "vit_giant_patch14_reg4_dinov2": {**SMALL_VIT, "img_size": 70},  # gated by itself, as H-optimus-1 is
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


GATED = {
    "UNI2-h": ("vit_giant_patch14_224", {"reg_tokens": 8, "no_embed_class": True, "mlp_ratio": 2.66667 * 2}),
    "Virchow2": ("vit_huge_patch14_224", {"reg_tokens": 4, "global_pool": "", "mlp_ratio": 5.3375}),
}


@pytest.fixture
def gated_folder(tmp_path):
    """A small model as the pages of UNI2-h and Virchow2 build it, laid out as on the hub: a pickle, and a config.json
    that leaves the gated MLP out."""

    def write(name, say_heads=True):
        architecture, own = GATED[name]
        options = {
            **own, "img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3, "init_values": 1e-5,
            "num_classes": 0, "dynamic_img_size": True,
        }  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = timm.create_model(
                architecture, mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU, **options
            ).eval()
            for parameter in model.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
        said = {k: v for k, v in options.items() if k in ("init_values", "global_pool", "dynamic_img_size")}
        config = {"architecture": architecture, "num_classes": 0, "model_args": said}
        if say_heads:
            said["num_heads"] = 3
        config["pretrained_cfg"] = {
            "input_size": [3, 56, 56],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        return tmp_path, model

    return write


@pytest.mark.parametrize("name", GATED)
def test_gated_pathology_encoders_give_what_timm_gives(name, gated_folder):
    folder, model = gated_folder(name)
    encoder = load_encoder(str(folder))
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, tokens = encoder(pixels), model.forward_features(pixels)
    registers = GATED[name][1]["reg_tokens"]
    assert tokens.shape[1] == 1 + registers + 16
    torch.testing.assert_close(ours.cls, tokens[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.pooled, tokens[:, 1 + registers :].mean(1), rtol=1e-4, atol=1e-5)
    assert encoder.width == encoder.summary_width == 48 and len(encoder.pyramid(pixels)) == 4


def test_features_of_virchow2_are_class_token_and_mean_of_the_patches(gated_folder, monkeypatch):
    folder, model = gated_folder("Virchow2", say_heads=False)
    published = catalogue.models()["virchow2"]
    assert published.build == {"embed_dim": 1280, "depth": 32, "patch_size": 14, "reg_tokens": 4, "num_heads": 16}
    small = {"embed_dim": 48, "depth": 4, "patch_size": 14, "reg_tokens": 4, "num_heads": 3}
    monkeypatch.setattr(catalogue, "models", lambda: {"virchow2": published.model_copy(update={"build": small})})
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    encoder = load_encoder(str(folder))
    with torch.no_grad():
        output = model(pixels)  # every token, as its page takes them
        expected = torch.cat([output[:, 0], output[:, 5:].mean(1)], dim=-1)
        torch.testing.assert_close(encoder(pixels).cls, expected, rtol=1e-4, atol=1e-5)
    assert encoder.summary_width == 96 and encoder.width == 48


def test_gated_weights_of_unsaid_heads_are_refused(gated_folder):
    folder, _ = gated_folder("UNI2-h", say_heads=False)
    with pytest.raises(WeightsError, match="how many heads"):
        load_encoder(str(folder))


@pytest.mark.parametrize("name", ["uni2-h", "virchow2"])
def test_published_sizes_are_recognised_from_shapes_alone(name):
    """The sizes that the pages of both models state, on no memory."""
    options = {
        "uni2-h": {"img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5,
                   "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "num_classes": 0, "no_embed_class": True,
                   "reg_tokens": 8},
        "virchow2": {"img_size": 224, "init_values": 1e-5, "num_classes": 0, "reg_tokens": 4, "mlp_ratio": 5.3375,
                     "global_pool": ""},
    }[name]  # fmt: skip
    architecture = GATED[{"uni2-h": "UNI2-h", "virchow2": "Virchow2"}[name]][0]
    with torch.device("meta"):
        model = timm.create_model(architecture, mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU, **options)
        found, known = timm_arguments.arguments(model.state_dict(), architecture, {}, name)
        again = timm.create_model(architecture, pretrained=False, **{**found, "num_classes": 0})
    assert known is catalogue.models()[name]
    assert found["num_heads"] == model.blocks[0].attn.num_heads
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


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
