"""Masked autoencoders in the layout of their own repositories, against transformers' implementation of MAE."""

from __future__ import annotations

import argparse

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from medvfm.core.errors import WeightsError
from medvfm.models.encoders import from_mae
from medvfm.models.encoders.load import load_encoder

RENAMED = (  # of transformers 5 and 4
    ("vit.embeddings.position_embeddings", "pos_embed"),
    ("vit.embeddings.", ""),
    ("patch_embeddings.projection", "patch_embed.proj"),
    ("vit.layers.", "blocks."),
    ("vit.encoder.layer.", "blocks."),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.attention.", "attention."),
    ("attention.output.dense", "attn.proj"),
    ("attention.o_proj", "attn.proj"),
    ("attention.query", "attention.q_proj"),
    ("attention.key", "attention.k_proj"),
    ("attention.value", "attention.v_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("vit.layernorm", "norm"),
)


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    small = ViTMAEConfig(
        hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=384, image_size=32, patch_size=8,
        decoder_num_hidden_layers=1, decoder_hidden_size=48, decoder_num_attention_heads=3, mask_ratio=0.0,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    model = ViTMAEForPreTraining(small).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def own_layout(model):
    """The same weights as facebookresearch/mae names them: query, key and value as one matrix."""
    state, found = model.state_dict(), {}
    for key, value in state.items():
        if not key.startswith("vit."):
            continue
        name = key
        for old, new in RENAMED:
            name = name.replace(old, new)
        found[name] = value
    for block in range(model.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            parts = [found.pop(f"blocks.{block}.attention.{part}_proj.{kind}") for part in "qkv"]
            found[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return found


@pytest.fixture
def checkpoint(reference, tmp_path):
    state = own_layout(reference) | {"mask_token": torch.zeros(1, 1, 48), "decoder_pred.bias": torch.zeros(3)}
    file = tmp_path / "RETFound_mae_small.pth"
    torch.save({"model": state, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}, file)
    return file


def test_features_are_those_of_transformers_mae(reference, checkpoint):
    encoder = load_encoder(str(checkpoint))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = encoder(pixels)
        tokens = reference.vit(pixels, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
    torch.testing.assert_close(ours.cls, tokens[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.pooled, tokens[:, 1:].mean(1), rtol=1e-4, atol=1e-4)
    assert encoder.contract.size_px == (32, 32) and encoder.contract.resize == "squash"
    assert load_encoder(str(checkpoint), size_px=48)(torch.zeros(1, 3, 48, 48)).patches.shape[2:] == (6, 6)


def test_the_hub_file_is_named_after_its_repository(checkpoint, monkeypatch):
    asked = []
    monkeypatch.setattr(from_mae, "hub_file", lambda *given: asked.append(given) or checkpoint)
    assert load_encoder("YukunZhou/RETFound_mae_small").width == 192
    assert asked == [("YukunZhou/RETFound_mae_small", "RETFound_mae_small.pth", None)]
    assert from_mae.on_hub("facebook/dinov2-base") is None


def test_other_layouts_are_refused_by_what_they_lack(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=False)["model"]
    for change, said in (
        ({"pos_embed": None}, "pos_embed"),
        ({"blocks.1.norm1.bias": None}, "missing"),
        ({"register_tokens": torch.zeros(1, 4, 192)}, "not used by the model"),
        ({"patch_embed.proj.weight": torch.zeros(100, 3, 8, 8)}, "heads"),
        ({"pos_embed": torch.zeros(1, 13, 192)}, "no square"),
    ):
        file = tmp_path / "other.pth"
        torch.save({"model": {k: v for k, v in (state | change).items() if v is not None}}, file)
        with pytest.raises(WeightsError, match=said):
            load_encoder(str(file))
