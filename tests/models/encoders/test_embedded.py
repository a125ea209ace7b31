"""The embedded encoder names what real photographs show."""

from __future__ import annotations

import pytest
import torch

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.embedded import classifier_with_weights, weights_file
from medvfm.models.encoders.load import load_encoder
from medvfm.models.weights import sha256_of


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("photograph", {663, 698, 832}),  # ImageNet: monastery, palace, stupa; the photograph shows the Summer Palace
        ("flower", {985, 984, 309, 723}),  # daisy, rapeseed, bee, pinwheel; the photograph shows a dahlia
    ],
)
def test_it_names_what_photographs_show(name, classes, request, as_pictures):
    encoder = load_encoder("embedded")
    classifier = classifier_with_weights(weights_file())
    pixels = encoder.contract.apply(as_pictures(request.getfixturevalue(name)))
    with torch.no_grad():
        logits = classifier(pixels)
        assert logits.argmax().item() in classes
        # The encoder's pooled features are what its classifier reads.
        torch.testing.assert_close(classifier.classifier(encoder(pixels).pooled), logits, rtol=1e-3, atol=1e-3)


def test_it_takes_gray_pictures_of_any_shape(radiograph, as_pictures):
    encoder = load_encoder("embedded", size_px=96)
    with torch.no_grad():
        pixels = encoder.contract.apply(as_pictures(radiograph))
        levels = encoder.pyramid(pixels)
    assert pixels.shape == (1, 3, 96, 96) and torch.equal(pixels[:, 0], pixels[:, 2])
    assert [tuple(level.shape[1:]) for level in levels] == [(24, 24, 24), (40, 12, 12), (112, 6, 6), (320, 3, 3)]
    assert len(encoder.blocks()) == 16 and encoder.unused() == []


def test_its_record_names_the_file():
    record = load_encoder("embedded:efficientnet_lite0").weights_record
    assert record["sha256"].startswith("57934424")  # the published file carries the head of its hash in its name
    assert record["sha256"] == sha256_of([weights_file()]) and record["licence"] == "apache-2.0"
    with pytest.raises(WeightsError, match="efficientnet_lite0"):
        load_encoder("embedded:efficientnet_lite1")


def test_bf16_agrees(photograph, as_pictures):
    encoder = load_encoder("embedded")
    pixels = encoder.contract.apply(as_pictures(photograph))
    with torch.inference_mode():
        exact = encoder(pixels).pooled
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = encoder(pixels).pooled.float()
    assert torch.nn.functional.cosine_similarity(exact, half).item() > 0.99
