"""Pictures and their words in one space: each text is read once and given back in its place."""

from __future__ import annotations

import pytest
import torch

from medvfm.core.errors import RecipeError
from medvfm.models.image_text.caption_scores import CaptionScorer
from medvfm.models.image_text.load import load_pair
from tests.samples import image_text_checkpoints


def test_each_picture_meets_its_own_words(tmp_path):
    scorer = CaptionScorer.loaded(str(image_text_checkpoints.write_transformers("clip", tmp_path)), "cpu")
    images = torch.rand(5, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    texts = ["a dog", "a cat on", "a dog", "a", "a cat on"]
    image, text = scorer.vectors(images, texts)
    assert image.shape == text.shape and len(image) == 5
    for place, words in enumerate(texts):
        alone = scorer.vectors(images[place : place + 1], [words])
        torch.testing.assert_close((image[place], text[place]), (alone[0][0], alone[1][0]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(text[0], text[1]) and torch.equal(text[0], text[2])


def test_encoders_that_never_met_are_refused():
    with pytest.raises(RecipeError, match="not trained on pictures with their texts"):
        CaptionScorer(load_pair("tiny"))
