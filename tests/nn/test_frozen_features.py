"""Probes and neighbours on frozen features, against scikit-learn and a slow second implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medvfm.nn import knn, probe


def cohort(n, d, classes, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 3, d) + rng.normal(size=d)
    z = (x - x.mean(0)) / x.std(0)
    if classes == 1:
        y = (z[:, :1] + rng.normal(size=(n, 1)) > 0.5).astype(float)
    else:
        y = np.eye(classes)[np.argmax(z[:, :classes] + rng.normal(size=(n, classes)), 1)]
    return torch.tensor(x), torch.tensor(y)


@pytest.mark.parametrize(("kind", "classes"), [("binary", 1), ("multi_class", 3)])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("n", "d"), [(150, 20), (60, 200)])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 30.0])
def test_a_probe_agrees_with_scikit_learn(kind, classes, class_weight, n, d, strength):
    x, y = cohort(n, d, classes)
    head, record = probe.sweep(
        (x, y), (x, y), lambda scores: 1.0, kind=kind, class_weight=class_weight, strengths=(strength,)
    )
    assert record["C"] == strength
    z = ((x - x.mean(0)) / x.std(0, unbiased=False)).numpy()
    labels = y[:, 0].numpy() if classes == 1 else y.argmax(1).numpy()
    other = LogisticRegression(C=strength, tol=1e-10, max_iter=50_000, class_weight=class_weight).fit(z, labels)
    wanted = other.predict_proba(z)[:, 1:] if classes == 1 else other.predict_proba(z)
    found = probe.probabilities(head(x.float()), kind).numpy()
    assert np.abs(found - wanted).max() < 2e-3


def test_the_sweep_takes_the_strength_that_validation_likes_best_and_of_equals_the_simplest():
    x, y = cohort(120, 30, 1)
    v, w = cohort(80, 30, 1, seed=1)
    choose = lambda scores: roc_auc_score(w[:, 0], scores[:, 0])  # noqa: E731
    _, record = probe.sweep((x, y), (v, w), choose, kind="binary")
    assert record["values"][record["swept"].index(record["C"])] == max(record["values"])
    _, equal = probe.sweep((x, y), (v, w), lambda scores: 0.5, kind="binary")
    assert equal["C"] == min(equal["swept"])


def test_unknown_labels_are_left_out_target_by_target():
    x, y = cohort(100, 10, 1)
    both = torch.cat([y, y], 1)
    both[50:, 1] = torch.nan
    head, _ = probe.sweep((x, both), (x, both), lambda s: 1.0, kind="multi_label", strengths=(1.0,))
    z = ((x - x.mean(0)) / x.std(0, unbiased=False)).numpy()
    other = LogisticRegression(C=1.0, tol=1e-10, max_iter=9999).fit(z[:50], y[:50, 0].numpy())
    found = torch.sigmoid(head(x.float()))[:, 1].numpy()
    assert np.abs(found - other.predict_proba(z)[:, 1]).max() < 2e-3


def test_a_probe_survives_its_state():
    x, y = cohort(50, 8, 1)
    head, _ = probe.sweep((x, y), (x, y), lambda s: 1.0, kind="binary")
    again = probe.Probe.from_state(head.state_dict())
    assert torch.equal(again(x.float()), head(x.float()))


def test_neighbours_against_a_slow_count():
    x, y = cohort(90, 12, 3)
    q, _ = cohort(20, 12, 3, seed=2)
    head, record = knn.sweep((x, y), (q, y[:20]), lambda s: 1.0, kind="multi_class", neighbours=(7,))
    found = head(q.float()).numpy()
    mean = x.float().mean(0)
    for row in range(20):
        query = (q[row].float() - mean).numpy()
        cosines = [float(query @ v / np.linalg.norm(query) / np.linalg.norm(v)) for v in (x.float() - mean).numpy()]
        nearest = np.argsort(cosines)[::-1][:7]
        votes = np.exp(np.array(cosines)[nearest] / 0.07)
        wanted = (votes[:, None] * y.numpy()[nearest]).sum(0) / votes.sum()
        assert found[row] == pytest.approx(wanted, abs=1e-4)
    assert record["k"] == 7
    assert torch.equal(knn.Neighbours.from_state(head.state_dict())(q.float()), head(q.float()))
