"""How good a mask is without its truth: signs against slow counts, lines and intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.core.slice_grid import SliceGrid
from medvfm.nn.expected_overlap import ExpectedDice
from medvfm.statistics import conformal
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.segmentation import self_check
from tests.samples import segmentation_runs


def values(truth: np.ndarray, predicted: np.ndarray, dice: np.ndarray, fold: int | np.ndarray = 0) -> PerCaseValues:
    n = len(truth)
    return PerCaseValues(
        tuple(f"c{i}" for i in range(n)),
        np.array([f"p{i}" for i in range(n)], dtype=object),
        np.zeros(n, int) + fold,
        tuple(f"s{t}" for t in range(truth.shape[1])),
        {"dice": dice, "truth_size": truth, "predicted_size": predicted},
        truth > 0,
        {"score": predicted},
    )


@pytest.mark.parametrize("axes", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("spacing", [None, (2.0, 3.0)])
def test_a_mirrored_mask_is_what_the_model_sees_mirrored(axes, spacing):
    affine = np.array([[0, 0, -3.0, 4], [1.5, 0, 0, 5], [0, 1.0, 0, 6], [0, 0, 0, 1]])
    grid = SliceGrid.of((7, 6, 5), affine, True, axes, spacing)
    voxels = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    assert np.array_equal(grid.mirrored(grid.mirrored(voxels)), voxels)
    assert np.allclose(
        grid.to_model(grid.mirrored(voxels), linear=True), grid.to_model(voxels, linear=True)[..., ::-1], atol=1e-6
    )
    channels = np.stack([voxels, 1 - voxels], axis=-1)
    assert np.array_equal(grid.mirrored(channels)[..., 1], grid.mirrored(1 - voxels))


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_expected_dice_is_that_of_a_slow_count(exclusive):
    logits = 2 * torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    sure = ExpectedDice(2 if exclusive else 3, exclusive)
    sure.add(logits[:2])
    sure.add(logits[2:])
    for t in range(2 if exclusive else 3):
        both = chance = drawn = 0.0
        for n, i, j in np.ndindex(3, 4, 5):
            here = logits[n, :, i, j].double()
            p = float(here.softmax(0)[t + 1] if exclusive else here[t].sigmoid())
            m = bool(here.argmax() == t + 1) if exclusive else bool(here[t] > 0)
            both, chance, drawn = both + p * m, chance + p, drawn + m
        assert float(sure.value()[t]) == pytest.approx(2 * both / (chance + drawn), abs=1e-6)
    nothing = ExpectedDice(1, True)
    nothing.add(torch.tensor([[[9.0]], [[-9.0]]]).transpose(0, 1))
    assert bool(nothing.value()[0].isnan())


def test_agreement_is_counted_by_hand():
    one, other = np.array([[[0, 1, 1, 2]]]), np.array([[[1, 1, 0, 0]]])
    found = self_check.agreement(one, other, "semantic", 3)
    assert found[:2].tolist() == [0.5, 0.0] and np.isnan(found[2])
    assert self_check.agreement(one, other, "instances", 1).tolist() == [2 * 1 / 5]
    layers = np.stack([one > 0, one > 1], axis=-1)
    assert self_check.agreement(layers, layers, "multi_label", 2).tolist() == [1, 1]


def test_a_bound_is_kept_as_often_as_it_promises():
    rng, kept = np.random.default_rng(1), []
    for _ in range(4000):
        scores = rng.exponential(size=20)
        kept.append(scores[0] <= conformal.bound(scores[1:], 0.8))
    assert np.mean(kept) == pytest.approx(0.8, abs=0.02)  # 16/20: exact for exchangeable cases
    assert conformal.bound(np.arange(8.0), 0.9) == np.inf and np.isfinite(conformal.bound(np.arange(9.0), 0.9))
    assert conformal.least_cases(0.9) == 9 and conformal.least_cases(0.8) == 4


def test_signs_that_tell_the_dice_predict_it_and_find_the_poor_masks():
    rng = np.random.default_rng(2)

    def drawn(n: int) -> tuple[PerCaseValues, dict[str, np.ndarray]]:
        dice = rng.uniform(0.3, 1, (n, 2))
        size = rng.gamma(9, 1, (n, 2))
        return values(size, size * rng.normal(1, 0.1, (n, 2)), dice), {"agreement": 0.4 + dice / 2}

    (val, of_val), (test, of_test) = drawn(30), drawn(60)
    told = self_check.checked(val, test, of_val, of_test)
    assert np.allclose(told.test.table["predicted_dice"], test.values["dice"])
    doubted = told.test.table["for_human"][:, 0].astype(bool)
    lowest = test.values["dice"].min(axis=1)
    assert doubted.any() and lowest[doubted].max() <= lowest[~doubted].min()
    error, rival = (e for _, e in told.estimands[:2])
    assert error[0].value == pytest.approx(0, abs=1e-9) and rival[0].value > 0.1
    low, high = told.test.table["size_low"], told.test.table["size_high"]
    held = ((test.values["truth_size"] >= low) & (test.values["truth_size"] <= high)).mean()
    assert 0.8 < held < 1 and (low >= 0).all()
    assert [e.metric.name for _, es in told.estimands for e in es[:1]][2:] == [
        "size_coverage@promised=0.8", "size_coverage@promised=0.9",
    ]  # fmt: skip


def test_what_agrees_less_is_never_called_better_and_false_masks_count_as_zero():
    dice = np.linspace(0.2, 0.9, 12)[:, None]
    val = values(np.ones((12, 1)), np.ones((12, 1)), dice)
    backwards = self_check.lines(1 - dice, dice)[0]
    assert backwards is not None and backwards.slope == 0 and backwards.intercept == pytest.approx(dice.mean())
    truth, predicted = np.array([[1.0], [0.0], [0.0], [1.0]]), np.array([[1.0], [1.0], [0.0], [0.0]])
    found = self_check.quality(values(truth, predicted, np.array([[0.7], [np.nan], [np.nan], [0.0]])))
    assert found is not None and found[:2, 0].tolist() == [0.7, 0.0] and np.isnan(found[2:]).all()
    few = self_check.checked(val.subset(np.arange(3)), val, {"agreement": dice[:3]}, {"agreement": dice})
    assert np.isnan(few.test.table["predicted_dice"]).all() and not few.test.table["for_human"].any()
    assert [e[0].reason for _, e in few.estimands] == [
        "too few validation masks", *(e[0].reason for _, e in few.estimands[1:2]),
        "an interval needs 4 validation cases", "an interval needs 9 validation cases",
    ]  # fmt: skip


def test_folds_are_fitted_apart_and_no_validation_cases_predict_nothing():
    rng = np.random.default_rng(3)
    dice = rng.uniform(0.3, 1, (40, 1))
    fold = np.repeat([0, 1], 20)
    both = values(np.ones((40, 1)), np.ones((40, 1)), dice, fold)
    signs = {"agreement": np.where(fold[:, None] == 0, dice, dice / 2)}
    told = self_check.checked(both, both, signs, signs)
    assert np.allclose(told.test.table["predicted_dice"], dice)
    assert {(e["fold"], round(e["line"]["slope"], 6)) for e in told.record["fitted"]} == {(0, 1.0), (1, 2.0)}
    alone = self_check.checked(None, both, {}, signs)
    assert np.isnan(alone.test.table["predicted_dice"]).all() and alone.record == {"fitted": []}


def test_a_new_image_is_told_what_a_test_case_of_the_same_signs_was_told():
    rng = np.random.default_rng(4)
    dice, size = rng.uniform(0.3, 1, (30, 2)), rng.gamma(9, 1, (30, 2))
    both = values(size * rng.normal(1, 0.1, (30, 2)), size, dice)
    signs = {"agreement": 0.4 + dice / 2 + rng.normal(0, 0.05, dice.shape), "confidence": dice.copy()}
    signs["confidence"][:, 0] = np.nan
    told = self_check.checked(both, both, signs, signs)
    asked = told.test.table
    for n in range(30):
        rows = [{"target": name, "size": float(size[n, t]), "unit": "ml"} for t, name in enumerate(both.targets)]
        found = self_check.doubted(rows, [{k: v[n] for k, v in signs.items()}], told.record["fitted"], both.targets)
        for t, row in enumerate(found):
            assert row["for_human"] == bool(asked["for_human"][n, t]) and row["unit"] == "ml"
            for name in ("predicted_dice", "size_low", "size_high"):
                assert row[name] == pytest.approx(float(asked[name][n, t]), abs=1e-12)
    in_voxels = [{**row, "unit": "voxels"} for row in rows]
    unlike = self_check.doubted(in_voxels, [{k: v[29] for k, v in signs.items()}], told.record["fitted"], both.targets)
    assert np.isnan(unlike[0]["size_high"]) and unlike[0]["predicted_dice"] == found[0]["predicted_dice"]
    before = [{**e, "sizes": {k: v for k, v in e["sizes"].items() if k != "in_voxels"}} for e in told.record["fitted"]]
    assert self_check.doubted(rows, [{k: v[29] for k, v in signs.items()}], before, both.targets) == found
    of_folds = [{"agreement": np.array([0.8, np.nan])}, {"agreement": np.array([0.6, np.nan])}]
    lines = [{"fold": f, "target": t, "line": {"intercept": 0.1, "slope": 1.0, "masks": 9, "of_all_structures": False},
              "human_below": 0.85, "sizes": {"scale": 1.0, "bounds": {}, "cases": 3, "in_voxels": False}}
             for f in (0, 1) for t in both.targets]  # fmt: skip
    mean, none = self_check.doubted(rows, of_folds, lines, both.targets)
    assert mean["predicted_dice"] == pytest.approx(0.8) and mean["for_human"] and np.isnan(mean["size_high"])
    assert np.isnan(none["predicted_dice"])


def test_the_page_lists_cases_for_a_human(tmp_path):
    from medvfm.report import page, run_view
    from medvfm.report.sections.segmentation import self_check as section

    record = segmentation_runs.write(tmp_path / "run", n=40, doubts=True, baselines={"location": 0.68})
    text = page.render(tmp_path / "run").read_text()
    table = section.expected(run_view.load(tmp_path / "run"))
    assert table is not None and table["for_human"].any()
    assert 'id="self_check"' in text and "cases for a human, the most doubtful first" in text
    for place in table.loc[table["for_human"], "place"].unique()[:30]:
        assert f"case {place}<" in text.partition('id="self_check"')[2]
    assert "Predicted Dice" in text and {r["metric"] for r in record["self_check"]["rows"]} == {
        "predicted_dice_error", "size_coverage@promised=0.8", "size_coverage@promised=0.9",
    }  # fmt: skip
