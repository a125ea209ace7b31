"""A projector that begins with a regression tells apart what is said about images, those that it has not seen too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from medvfm.models.language.connectors import Connector
from medvfm.models.language.said_start import STRENGTH, regressed, said_about

QUESTION = "Is there a lesion?"


@pytest.fixture
def images():
    """Features of which one, of little spread, says whether there is a lesion."""
    noise = torch.Generator().manual_seed(0)
    lesion = torch.arange(80) % 2
    features = torch.randn(80, 3, 20, generator=noise) * 10
    features[:, :, 7] = 0.01 * lesion[:, None].float() + 0.002 * torch.randn(80, 3, generator=noise)
    features[:, :, 4] = 1.0
    said = [said_about([f"Case {n}."], [(QUESTION, "yes" if one else "no")]) for n, one in enumerate(lesion)]
    return features, said, lesion


def test_words_and_answers_are_counted_once():
    assert said_about(["A lesion. A cyst"], [(QUESTION, "yes")]) == {
        ("", "a"), ("", "lesion"), ("", "cyst"), (QUESTION, "yes"),
    }  # fmt: skip


def test_weights_are_those_of_ridge_regression(images):
    features, _, lesion = images
    values = features.mean(1)
    values = (values - values.mean(0)) / values.std(0, correction=0).clamp(min=1)
    only = [frozenset({(QUESTION, "yes")}) if answer else frozenset() for answer in lesion]
    found = regressed(values, only, 5, seed=0)
    theirs = torch.tensor(Ridge(STRENGTH * 80).fit(values, lesion).coef_).float()
    for row in found:  # each is the one regression along its own direction
        assert abs(np.corrcoef(row, theirs)[0, 1]) == pytest.approx(1, abs=1e-4)
    assert float(found.square().mean()) == pytest.approx(1, rel=1e-4)


def test_what_is_said_is_read_from_images_that_were_not_seen(images):
    features, said, lesion = images
    connector = Connector("prefix", 20, 64, 1, 0.1, seed=0)
    connector.start_from(list(features[:60]), said[:60], seed=0)
    connector.eval()
    vectors = connector(features)[:, 0].detach()
    direction = vectors[:60][lesion[:60] == 1].mean(0) - vectors[:60][lesion[:60] == 0].mean(0)
    told = (vectors[60:] @ direction > 0).long()
    assert float((told == lesion[60:]).float().mean()) >= 0.9
    assert torch.isfinite(vectors).all()
