"""Any program's similarities beside true texts: numbers by hand, and every fault named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import medvfm
from medvfm.core.errors import MedvfmError, PredictionError

TEXTS = ["effusion", "Effusion ", "mass", "normal", "oedema"]
NAMES = [f"c{n}" for n in range(5)]


@pytest.fixture
def truth():
    return pd.DataFrame({"case_id": NAMES, "patient_id": ["p0", "p0", "p1", "p2", "p3"], "text": TEXTS})


@pytest.fixture
def similar():
    numbers = np.random.default_rng(0).random((5, 5))
    return pd.DataFrame(numbers, columns=NAMES).assign(case_id=NAMES)


def scored(truth, similar, **options):
    rows = medvfm.evaluate("retrieval", truth=truth, predictions=similar, **options)
    return {
        (r["metric"], r["group"]): r for r in rows[rows["split"] == "test"].replace({np.nan: None}).to_dict("records")
    }


def by_hand(similar, names=NAMES):
    ranks = []
    table = similar.set_index("case_id")
    said = {n: t.strip().lower() for n, t in zip(NAMES, TEXTS, strict=True)}
    for query in names:
        order = sorted(names, key=lambda c: -table.loc[query, c])
        ranks.append([said[c] == said[query] for c in order].index(True) + 1)
    return np.array(ranks)


def test_numbers_are_those_counted_by_hand(truth, similar):
    found, ranks = scored(truth, similar.sample(frac=1, random_state=1)[[*NAMES[::-1], "case_id"]]), by_hand(similar)
    assert found["recall@k=1", None]["value"] == pytest.approx((ranks == 1).mean())
    assert found["median_rank", None]["value"] == np.median(ranks)
    assert found["mean_reciprocal_rank", None]["value"] == pytest.approx((1 / ranks).mean())
    row = found["recall@k=1", None]
    assert (row["target"], row["cases"], row["patients"]) == ("text_to_image", 5, 4)


def test_files_read_alike_and_a_report_is_written(truth, similar, tmp_path):
    truth.to_csv(tmp_path / "t.csv", index=False)
    similar.to_parquet(tmp_path / "s.parquet")
    found = scored(tmp_path / "t.csv", tmp_path / "s.parquet", out=tmp_path / "out")
    assert found["median_rank", None]["value"] == np.median(by_hand(similar))
    html = (tmp_path / "out/report.html").read_text()
    assert "Ranks of the right candidate" in html and "held fixed" in html


def test_subgroups_are_of_queries_and_keep_all_candidates(truth, similar):
    found = scored(truth.assign(sex=list("FFMMM")), similar, subgroups=["sex"])
    ranks = by_hand(similar)
    assert found["mean_reciprocal_rank", "sex=F"]["value"] == pytest.approx((1 / ranks[:2]).mean())
    assert found["mean_reciprocal_rank", "sex=M"]["value"] == pytest.approx((1 / ranks[2:]).mean())


def test_folds_are_galleries_of_their_own(truth, similar):
    found = scored(truth.assign(fold=[0, 0, 1, 1, 1]), similar)
    first, second = by_hand(similar, NAMES[:2]), by_hand(similar, NAMES[2:])
    wanted = ((1 / first).mean() + (1 / second).mean()) / 2
    assert found["mean_reciprocal_rank", None]["value"] == pytest.approx(wanted)


def test_splits_are_galleries_of_their_own(truth, similar):
    rows = medvfm.evaluate("retrieval", truth=truth.assign(split=["val"] * 2 + ["test"] * 3), predictions=similar)
    value = rows.set_index(["metric", "split"])["value"]
    assert value["mean_reciprocal_rank", "test"] == pytest.approx((1 / by_hand(similar, NAMES[2:])).mean())
    assert value["mean_reciprocal_rank", "val"] == 1


def test_a_case_without_a_text_is_a_candidate_alone(truth, similar):
    truth.loc[2, "text"] = ""
    found = scored(truth, similar)
    assert found["median_rank", None]["cases"] == 4
    kept = [n for n in NAMES if n != "c2"]
    table = similar.set_index("case_id")
    said = dict(zip(NAMES, (t.strip().lower() for t in TEXTS), strict=True))
    ranks = [[said[c] == said[q] for c in sorted(NAMES, key=lambda c: -table.loc[q, c])].index(True) + 1 for q in kept]
    assert found["median_rank", None]["value"] == np.median(ranks)


def test_clip_score_is_of_cosines_alone(truth, similar):
    row = scored(truth, similar, metrics=["clip_score"])["clip_score", None]
    assert row["value"] == pytest.approx(100 * np.diag(similar[NAMES]).mean())
    much = similar.assign(**{n: similar[n] * 30 for n in NAMES})
    assert scored(truth, much, metrics=["clip_score"])["clip_score", None]["value"] is None


def test_missing_queries_and_candidates_are_left_out_where_that_is_allowed(truth, similar):
    fewer = similar.drop(index=4).drop(columns="c4")
    found = scored(truth, fewer, allow_missing=True)
    assert found["mean_reciprocal_rank", None]["value"] == pytest.approx((1 / by_hand(fewer, NAMES[:4])).mean())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, s: (t.rename(columns={"text": "texts"}), s), "no column 'text'; did you mean 'texts'"),
        (lambda t, s: (t, s.drop(index=2)), "1 case has no prediction: c2"),
        (lambda t, s: (t, s.drop(columns="c3")), "1 case without a column of similarities, and so no candidate: c3"),
        (lambda t, s: (t, s.assign(c9=0.1)), "1 columns name no case of the truth: c9"),
        (lambda t, s: (t, pd.concat([s, s.iloc[[1]]])), "c1; again"),
        (lambda t, s: (pd.concat([t, t.iloc[[1]]]), s), "c1; again"),
        (
            lambda t, s: (t, s.assign(case_id=["c0", "c1", "c2", "c3", "x"])),
            "no prediction: c4; 1 prediction has no case: x",
        ),
        (lambda t, s: (t, s.assign(c2=[0.1, "high", 0.2, 0.3, 0.4])), "'high' in column 'c2' is no number"),
        (lambda t, s: (t, s.assign(c2=[0.1, None, 0.2, 0.3, 0.4])), "no similarity of query 'c1' and candidate 'c2'"),
        (lambda t, s: (t, s.assign(c2=[0.1, np.inf, 0.2, 0.3, 0.4])), "inf is no similarity of query 'c1'"),
        (lambda t, s: (t, s.drop(columns="case_id")), "no column case_id"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(truth, similar, change, said):
    with pytest.raises(PredictionError, match=said):
        scored(*change(truth, similar))


def test_options_of_other_tasks_are_refused(truth, similar):
    with pytest.raises(MedvfmError, match="threshold"):
        scored(truth, similar, threshold=0.5)
    with pytest.raises(MedvfmError, match="no column 'age'"):
        scored(truth, similar, subgroups=["age"])
    with pytest.raises(MedvfmError, match="recall@k=0"):
        scored(truth, similar, metrics=["recall@k=0"])
