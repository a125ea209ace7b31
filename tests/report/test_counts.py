"""What the report computes itself: curves, bands, shares and confusion counts, against independent witnesses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from medvfm.report import proportions
from medvfm.report.charts import curve_bands, forest
from medvfm.report.run_view import Scores, load
from medvfm.report.sections.classification import operating
from tests.samples import runs


def scores(n: int = 80, per_patient: int = 1, folds: int = 1, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    patients = np.array([f"p{i // per_patient}" for i in range(n)], dtype=object)
    return Scores(truth, np.round(rng.normal(size=n) + truth, 1), patients, np.arange(n) * folds // n)


def test_curves_are_those_of_scikit_learn():
    found = scores()
    fpr, tpr, _ = roc_curve(found.truth, found.score, drop_intermediate=False)
    curve = curve_bands.roc(found, 0.95)
    np.testing.assert_allclose(curve.x, fpr)
    np.testing.assert_allclose(curve.y, tpr)
    precision, recall, _ = precision_recall_curve(found.truth, found.score)
    ours = curve_bands.precision_recall(found, 0.95)
    np.testing.assert_allclose(ours.x[1:], recall[:-1][::-1])  # ours ends at the threshold that calls everyone positive
    np.testing.assert_allclose(ours.y[1:], precision[:-1][::-1])


@pytest.mark.parametrize("per_patient", [1, 4])
def test_the_band_holds_the_curve_and_widens_with_the_level(per_patient):
    found = scores(160, per_patient)
    narrow, wide = curve_bands.roc(found, 0.5), curve_bands.roc(found, 0.99)
    assert narrow.low is not None and wide.low is not None and narrow.high is not None and wide.high is not None
    at = np.array([narrow.y[narrow.x <= g].max() for g in curve_bands.FPR])
    assert (wide.low <= at + 1e-9).all() and (at <= wide.high + 1e-9).all()
    assert (wide.high - wide.low).mean() > (narrow.high - narrow.low).mean()


def test_scores_of_different_folds_are_never_pooled():
    """A fold whose scores lie elsewhere must not change the curve; pooled, it would."""
    found = scores(120, folds=3)
    moved = Scores(found.truth, found.score + 100 * found.fold, found.patients, found.fold)
    np.testing.assert_allclose(curve_bands.roc(moved, 0.95).y, curve_bands.roc(found, 0.95).y)
    assert len(curve_bands.roc(found, 0.95).folds) == 3


def test_shares_have_wilsons_interval_where_patients_have_one_unit():
    found = scores()
    hits, among = found.score > 0.5, found.truth == 1
    row = proportions.share(hits, among, found, 0.95)
    expected = binomtest(int((hits & among).sum()), int(among.sum())).proportion_ci(method="wilson")
    assert row["value"] == (hits & among).sum() / among.sum()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_shares_of_clustered_units_are_less_certain():
    few = scores(160, per_patient=16)
    lone = Scores(few.truth, few.score, np.arange(160).astype(str).astype(object), few.fold)
    among = np.ones(160, dtype=bool)
    hits = np.repeat(np.arange(10) % 2 == 0, 16)  # a patient's units agree
    clustered, independent = (proportions.share(hits, among, s, 0.95) for s in (few, lone))
    assert clustered["high"] - clustered["low"] > 2 * (independent["high"] - independent["low"])
    none = proportions.share(np.zeros(160, dtype=bool), among, few, 0.95)
    assert none["low"] == 0 and none["high"] > 0.2  # 0 of 10 patients, not 0 of 160 units
    assert proportions.share(hits, np.zeros(160, dtype=bool), few, 0.95)["value"] is None


@pytest.mark.parametrize("folds", [1, 2])
def test_confusion_counts(tmp_path, folds):
    record = runs.write(tmp_path, folds=folds)
    view = load(tmp_path)
    found = view.scores("lesion")
    assert found is not None
    points = operating.points(view, "lesion", 0.95)
    assert len(points) == 2
    cuts = record["thresholds"]["lesion"]["sensitivity@specificity=0.9"]["threshold"]
    cut = np.array(cuts if folds > 1 else [cuts])[found.fold]
    expected = confusion_matrix(found.truth, found.score >= cut).ravel()
    counts = points[0]["counts"]
    assert [counts[k] for k in ("tn", "fp", "fn", "tp")] == expected.tolist()
    if folds == 1:  # the record's own number, computed elsewhere
        assert points[0]["sensitivity"]["value"] == pytest.approx(counts["tp"] / (counts["tp"] + counts["fn"]))


def test_the_matrix_of_exclusive_classes(tmp_path):
    runs.write(tmp_path, targets=("a", "b", "c"), kind="multi_class", metrics=("macro_auroc", "balanced_accuracy"))
    view = load(tmp_path)
    matrix = operating._matrix(view)
    assert matrix is not None
    counts = np.array([[cell["count"] for cell in row["cells"]] for row in matrix["rows"]])
    assert counts.sum() == 120
    recall = (np.diag(counts) / counts.sum(1)).mean()
    assert view.value("balanced_accuracy") == pytest.approx(recall)


def test_axes_of_a_forest_plot_hold_every_interval():
    rng = np.random.default_rng(3)
    for _ in range(50):
        low, high = np.sort(rng.normal(scale=10.0 ** rng.integers(-4, 4), size=2))
        ticks = forest.ticks(low, high)
        assert ticks[0] <= low <= high <= ticks[-1] and 2 <= len(ticks) <= 8
    assert len(forest.ticks(0.5, 0.5)) >= 2
