"""Groups of cases: each against the rest, gaps, missing values, bands of numbers and intersections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

import medvfm
from medvfm.core.recipe_sections import Confidence
from medvfm.engine import subgroups

N = 240


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    site = rng.choice(["A", "B", "C", ""], N, p=[0.4, 0.3, 0.2, 0.1])
    truth = (rng.random(N) < 0.5).astype(int)
    skill = np.where(site == "C", 0.0, 2.0)
    score = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + rng.normal(0, 1, N))))
    table = pd.DataFrame(
        {"case_id": [f"c{n}" for n in range(N)], "patient_id": [f"p{n}" for n in range(N)], "lesion": truth,
         "site": site, "sex": rng.choice(["F", "M"], N), "age": rng.integers(20, 90, N)}
    )  # fmt: skip
    given = table[["case_id"]].assign(lesion=score)
    found = medvfm.evaluate(
        "classification", truth=table, predictions=given, metrics=["auroc", "accuracy", "ece"], threshold=0.5,
        subgroups=["site", "age", "site*sex"], confidence=Confidence(resamples=200),
    )  # fmt: skip
    return found, table.assign(score=score)


def one(found, **wanted):
    for key, value in wanted.items():
        found = found[found[key] == value]
    assert len(found) == 1, found.to_string()
    return found.iloc[0]


def test_a_group_is_held_against_the_cases_outside_it(rows):
    found, table = rows
    inside = table["site"] == "C"
    auroc = [roc_auc_score(table["lesion"][m], table["score"][m]) for m in (inside, ~inside)]
    row = one(found, metric="auroc_against_rest", group="site=C")
    assert row["value"] == pytest.approx(auroc[0] - auroc[1])
    assert row["p_adjusted"] < 0.001
    assert row["low"] < row["value"] < row["high"] < 0
    right = (table["score"] >= 0.5) == table["lesion"]
    hits = [(right[m].sum(), m.sum()) for m in (inside, ~inside)]
    accuracy = one(found, metric="accuracy_against_rest", group="site=C")
    low, high = confint_proportions_2indep(*hits[0], *hits[1], method="newcomb", compare="diff")
    assert (accuracy["low"], accuracy["high"]) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_p_values_of_all_groups_of_a_number_are_adjusted_together(rows):
    found, _ = rows
    against = found[found["metric"] == "auroc_against_rest"]
    adjusted = multipletests(against["p"].to_numpy(float), method="holm")[1]
    assert against["p_adjusted"].to_numpy(float) == pytest.approx(adjusted)
    assert found[~found["metric"].str.endswith("_against_rest")]["p"].isna().all()


def test_a_value_that_is_missing_is_a_group_and_a_gap_names_its_ends(rows):
    found, table = rows
    missing = table["site"] == ""
    assert one(found, metric="auroc", group="site=missing")["cases"] == missing.sum()
    values = found[
        (found["metric"] == "auroc") & found["group"].isin([f"site={s}" for s in ("A", "B", "C", "missing")])
    ]
    gap = one(found, metric="auroc_gap", group="gap=site")
    assert gap["value"] == pytest.approx(values["value"].max() - values["value"].min())
    assert "smallest in C, of 4 groups" in gap["note"]
    assert pd.isna(gap["low"])
    assert not (found["metric"] == "ece_against_rest").any()


def test_numbers_are_bands_in_order_and_small_intersections_are_left_out(rows):
    found, table = rows
    bands = [
        g.removeprefix("age=") for g in found[found["metric"] == "auroc"]["group"].dropna() if g.startswith("age=")
    ]
    assert len(bands) == 4
    starts = [int(band.split(" to ")[0]) for band in bands]
    assert starts == sorted(starts)
    counts = found[(found["metric"] == "auroc") & found["group"].isin([f"age={b}" for b in bands])]["cases"]
    assert counts.sum() == N
    sizes = table.assign(site=table["site"].replace("", "missing")).groupby(["site", "sex"]).size()
    shown = {g for g in found["group"].dropna() if g.startswith("site*sex=")}
    assert shown == {f"site*sex={a} {b}" for (a, b), size in sizes.items() if size >= 20}


def test_few_numbers_are_groups_of_their_own_and_words_are_never_bands():
    assert list(subgroups.labels(np.array([3, 1, 2, None, float("nan")], dtype=object))) == [
        "3", "1", "2", "missing", "missing",
    ]  # fmt: skip
    words = np.array([f"v{n}" for n in range(30)], dtype=object)
    assert list(subgroups.labels(words)) == list(words)
    same = subgroups.labels(np.array([0.0] * 20 + list(range(10)), dtype=object))
    assert sum(label.startswith("0") for label in same) >= 21
    assert subgroups.columns_of(["sex", "sex*site"]) == ["sex", "site"]
