"""Tables and arrays of other programs' scores: every form gives the number that scikit-learn or counting gives, and
what a table leaves open is refused by case, row or column."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import medvfm
from medvfm.core.errors import MedvfmError
from medvfm.tasks.classification.tables import AskedOfScores, match

GRADES = ["none", "mild", "moderate", "severe"]
IDS = [f"c{n}" for n in range(80)]


def graded():
    """Truth (n,), scores (n, 4)."""
    rng = np.random.default_rng(4)
    true = rng.integers(0, 4, len(IDS))
    scores = rng.dirichlet(np.ones(4), len(IDS)) + 0.6 * np.eye(4)[np.clip(true + rng.integers(-1, 2, len(IDS)), 0, 3)]
    return true, scores / scores.sum(axis=1, keepdims=True)


def table(values, columns, **more):
    return pd.DataFrame(values, columns=columns).assign(case_id=IDS, **more)


def long(wide, value):
    return wide.melt("case_id", var_name="target", value_name=value).sort_values(["case_id", "target"])


def score(truth, predictions, *names, **options):
    from medvfm.core.recipe_sections import Confidence

    found = medvfm.evaluate(
        "classification", truth=truth, predictions=predictions, metrics=names, confidence=Confidence(resamples=100),
        **options,
    )  # fmt: skip
    return found[found.group.isna()]


def value(rows, split="test"):
    return rows[rows.split == split].iloc[0]["value"]


def refused(truth, predictions, *names, **options):
    with pytest.raises(MedvfmError) as error:
        score(truth, predictions, *(names or ("auroc",)), **options)
    return str(error.value)


def test_the_order_of_grades_is_that_of_the_truth_or_of_the_user_in_every_form():
    true, scores = graded()
    want = metrics.cohen_kappa_score(true, scores.argmax(axis=1), weights="quadratic")
    wide, given = table(np.eye(4, dtype=int)[true], GRADES), table(scores, GRADES)
    kappa = lambda t, p, **options: value(score(t, p, "quadratic_kappa", kind="ordinal", **options))  # noqa: E731
    for predictions in (given, long(given, "score")):
        assert kappa(wide, predictions) == pytest.approx(want, abs=1e-12)
    by_name = given[["case_id", *sorted(GRADES)]]
    assert kappa(wide, by_name, classes=GRADES) == pytest.approx(want, abs=1e-12)
    for truth, predictions in ((wide, by_name), (wide[["case_id", *sorted(GRADES)]], given)):
        said = refused(truth, predictions, "quadratic_kappa", kind="ordinal")
        assert "come as none, mild, moderate, severe" in said.replace("predictions as", "come as")
        assert "mild, moderate, none, severe" in said and "--classes" in said
    assert value(score(wide, by_name, "accuracy", kind="multi_class"))  # an order counts among grades alone
    named = pd.DataFrame({"case_id": IDS, "truth": [GRADES[t] for t in true]})
    for truth in (long(wide, "truth"), named, wide[["case_id", *sorted(GRADES)]]):
        assert kappa(truth, given, classes=GRADES) == pytest.approx(want, abs=1e-12)
    assert kappa([GRADES[t] for t in true], scores, classes=GRADES) == pytest.approx(want, abs=1e-12)
    for truth in (long(wide, "truth"), named):
        assert "--classes" in refused(truth, given, "quadratic_kappa", kind="ordinal")
    numbers = dict(zip(GRADES, ("10", "8", "11", "9"), strict=True))
    said = refused(named.replace({"truth": numbers}), given.rename(columns=numbers), "quadratic_kappa", kind="ordinal")
    assert "for example --classes 8,9,10,11 if 8 is the lowest and 11 the highest" in said
    gap = refused(wide, given.drop(columns="moderate"), "quadratic_kappa", kind="ordinal")
    assert "'moderate'" in gap


def test_grades_in_the_order_of_text_are_refused_and_words_in_that_of_the_alphabet_are_told():
    ids, grades = [f"c{n}" for n in range(44)], [str(n) for n in range(11)]
    truth = pd.DataFrame(np.eye(11, dtype=int)[np.arange(44) % 11], columns=grades).assign(case_id=ids)
    given = pd.DataFrame(np.random.default_rng(0).dirichlet(np.ones(11), 44), columns=grades).assign(case_id=ids)
    by_text, ordinal = ["case_id", *sorted(grades)], AskedOfScores("ordinal", (), False)
    long = given.melt("case_id", var_name="target", value_name="score")
    for scores in (given[by_text], long):
        with pytest.raises(MedvfmError, match=r"order of text, and not of numbers: 0, 1, 10, 2.*--classes 0,1,2,3"):
            match(truth[by_text], scores, ordinal)
    assert not any("alphabet" in note for note in match(truth, given, ordinal).notes)
    words = dict(zip(grades[:3], ("mild", "moderate", "none"), strict=True))
    three = pd.DataFrame(np.eye(3, dtype=int)[np.arange(44) % 3], columns=list(words.values())).assign(case_id=ids)
    notes = match(three, three.astype({"mild": float}), ordinal).notes
    assert any("as in the alphabet" in note and "mild, moderate, none" in note for note in notes)


def test_folds_of_training_rows_alone_and_a_split_of_something_else_decide_nothing():
    ids, true = [f"c{n}" for n in range(40)], np.arange(40) % 2
    scores = pd.DataFrame({"case_id": ids, "x": np.random.default_rng(0).random(40)})
    binary = AskedOfScores(None, (), False)
    truth = pd.DataFrame({"case_id": ids, "x": true, "Split": ["internal", "external"] * 20})
    assert len(match(truth, scores, binary).tables["test"].ids) == 40
    truth["Split"], truth["Fold"] = ["test"] * 20 + ["train"] * 20, [None] * 20 + [0, 1] * 10
    found = match(truth, scores, binary).tables["test"]
    assert len(found.ids) == 20 and set(found.fold.tolist()) == {0}


def test_exactly_one_class_or_the_case_is_named():
    true, scores = graded()
    wide, given = table(np.eye(4, dtype=int)[true], GRADES), table(scores, GRADES)
    want = (scores.argmax(axis=1) == true).mean()
    assert value(score(wide, given, "accuracy", kind="multi_class")) == pytest.approx(want)
    named = pd.DataFrame({"case_id": IDS, "truth": [GRADES[t] for t in true]})
    assert value(score(named, given, "accuracy")) == pytest.approx(want)  # such a truth says that one is right
    for change, said in ((0, "no class"), (1, "several classes"), ([1, np.nan, 0, 0], "empty cells")):
        wrong = wide.astype(dict.fromkeys(GRADES, float))
        wrong.loc[7, GRADES] = change
        said_of = refused(wrong, given, "accuracy", kind="multi_class")
        assert said in said_of and "c7" in said_of
    unknown = wide.astype(dict.fromkeys(GRADES, float))
    unknown.loc[7, GRADES] = np.nan
    said_of = refused(unknown, given, "accuracy", kind="multi_class")
    assert "row 8" in said_of and "no class of c7 is given" in said_of
    assert "'severe'" in refused(wide, given.drop(columns="severe"), "accuracy", kind="multi_class")
    three, first = ["none", "mild", "severe"], IDS[list(true).index(2)]
    said_of = refused(named, given, "quadratic_kappa", kind="ordinal", classes=three)
    assert f"row {list(true).index(2) + 1}: 'moderate' is missing in --classes" in said_of
    said_of = refused(wide, given, "quadratic_kappa", kind="ordinal", classes=three)
    assert "'moderate'" in said_of and "missing in --classes" in said_of and first in said_of
    assert "'severe'" in refused(long(wide, "truth"), given.drop(columns="severe"), "accuracy", kind="multi_class")
    assert "'sevre'" in refused(named.assign(truth="sevre"), given)
    assert "multi_class" in refused(wide, given, kind="multiclass") and "--kind" in refused(wide, given, kind="foo")
    assert "4 columns" in refused(wide, given, kind="binary")


BINARY = (np.arange(80) % 2, np.linspace(0.05, 0.95, 80)[np.random.default_rng(0).permutation(80)])


def test_splits_apart_and_folds_within():
    true, given = BINARY
    auroc = metrics.roc_auc_score
    truth, scores = table({"x": true}, None), table({"x": given}, None)
    split = np.array(["test"] * 40 + ["val"] * 20 + ["train"] * 20)
    for tables in ((truth.assign(split=split), scores), (truth, scores.assign(split=split))):
        rows = score(*tables, "auroc")
        assert value(rows) == pytest.approx(auroc(true[:40], given[:40])) and rows.iloc[0]["cases"] == 40
        assert value(rows, "val") == pytest.approx(auroc(true[40:60], given[40:60]))
        assert set(rows.split) == {"test", "val"}
    only = score(truth.assign(split=split), scores[:40], "auroc")  # predictions of the test cases alone
    assert set(only.split) == {"test"} and value(only) == pytest.approx(auroc(true[:40], given[:40]))
    assert "holdout" in refused(truth.assign(split="holdout"), scores)
    assert "row 3" in refused(truth.assign(split=["test", "test", ""] + ["test"] * 77), scores)
    assert "no case is of the split test" in refused(truth.assign(split="val"), scores)
    torn = refused(truth.assign(split=split), scores.assign(split=["val"] + ["test"] * 39 + ["val"] * 40))
    assert "c0 is test in truth and val in predictions; 20 further cases likewise" in torn
    both = pd.concat([scores[:60].assign(split="test"), scores[:60].assign(split="val")])  # folds that swap
    assert score(truth.assign(split=split), both, "auroc", allow_missing=True).iloc[0]["cases"] == 40

    fold = np.arange(80) // 20
    parts = [auroc(true[fold == f], given[fold == f] + f) for f in range(4)]
    for tables in (
        (truth.assign(fold=fold), scores.assign(x=given + fold)),
        (truth, scores.assign(x=given + fold, fold=fold)),
    ):
        assert value(score(*tables, "auroc")) == pytest.approx(np.mean(parts))
    both = score(truth.assign(fold=fold), scores, "accuracy", threshold=0.5)
    assert value(both) == pytest.approx(((given >= 0.5) == true).mean())
    assert "different folds" in refused(truth.assign(fold=fold), scores.assign(fold=0))
    assert "row 2" in refused(truth.assign(fold=["1", ""] + ["2"] * 78), scores)


@pytest.mark.parametrize(("column", "values"), [("Split", ["test"] * 50 + ["VAL"] * 30), ("FOLD", np.arange(80) // 20)])
def test_split_and_fold_count_whatever_the_case_of_their_letters(tmp_path, column, values):
    truth, scores = table({"x": BINARY[0]}, None), table({"x": BINARY[1]}, None)
    want = value(score(truth.assign(**{column.lower(): values}), scores, "auroc"))
    assert want != pytest.approx(value(score(truth, scores, "auroc")))
    given = truth.assign(**{column: values})
    given.to_csv(tmp_path / "t.csv", index=False)
    for of_truth in (given, tmp_path / "t.csv"):
        assert value(score(of_truth, scores, "auroc")) == pytest.approx(want)
    assert value(score(truth, scores.assign(**{column: values}), "auroc")) == pytest.approx(want)
    said = refused(given.assign(**{column.lower(): values}), scores)
    assert f"'{column}' and '{column.lower()}' differ only in the case" in said


def test_patients():
    true, given = BINARY
    truth, scores = table({"x": true}, None), table({"x": given}, None)
    said = refused(truth.assign(patient_id=IDS[:40] + [""] * 40), scores)
    assert "patient_id is empty" in said and "row 41" in said and "leave the column out" in said
    assert score(truth.assign(patient_id=np.arange(80) // 4), scores, "auroc").iloc[0]["patients"] == 20
    twice = long(truth, "truth").assign(patient_id="a")
    twice = pd.concat([twice, twice.assign(target="y", patient_id="b")])
    assert "two patients" in refused(twice, scores)


@pytest.mark.parametrize("column", ["MRN", "Patient", "PatientID", "subject"])
def test_a_column_that_looks_like_patients_is_named_on_the_page(tmp_path, column):
    true, given = BINARY
    others = {"Patient Age": np.arange(80), "patient_x": true}
    truth = table({"x": true}, None).assign(**{column: np.arange(80) // 4, **others})
    medvfm.evaluate("classification", truth, table({"x": given}, None), ["auroc"], tmp_path / "out", resamples=100)
    warnings = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert f"The column '{column}' of the truth looks like one of patients: rename it to patient_id." in warnings
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "rename it to patient_id" in page and "Patients are unknown: intervals, which take every" in page
    assert "several splits" not in page and "so that intervals take every case alone" in page
    quiet = truth.drop(columns=column)
    medvfm.evaluate("classification", quiet, table({"x": given}, None), ["auroc"], tmp_path / "quiet", resamples=100)
    assert "patient_id" not in (tmp_path / "quiet" / "run.json").read_text()


def test_cells_that_are_no_numbers_and_rows_that_do_not_match(tmp_path):
    true, given = BINARY
    truth, scores = table({"x": true}, None), table({"x": given}, None)
    file = tmp_path / "p.csv"
    file.write_text("case_id;x\nc0;0,5\nc1;high\n")
    assert "p.csv, line 3" in refused(truth, file) and "'high'" in refused(truth, file)
    file.write_text(
        "case_id;x\n" + "".join(f"{c};{str(v).replace('.', ',')}\n" for c, v in zip(IDS, given, strict=True))
    )
    assert value(score(truth, file, "auroc")) == pytest.approx(metrics.roc_auc_score(true, given))
    file.write_text("case_id,x\n")
    assert "no rows" in refused(truth, file)
    assert "case_id occur more than once: c3" in refused(truth, pd.concat([scores, scores[3:4]]))
    assert "more than once" in refused(truth, pd.concat([long(scores, "score"), long(scores, "score")[3:4]]))
    padded = scores.assign(case_id=[f"{n:03}" for n in range(80)])
    assert "zeros" in refused(truth.assign(case_id=range(80)), padded)
    said = refused(long(truth, "score"), scores)
    assert "case_id, target, truth" in said
    assert "case_id, target, score" in refused(truth, long(scores, "probability"))
    assert "neither 0 nor 1: c2" in refused(truth.assign(x=[0, 1, 2] + [0] * 77), scores)


def test_a_runs_own_table_is_scored_without_its_baselines():
    true, given = BINARY
    run = long(table({"x": given}, None), "score").assign(split="test", truth=0.0, fold=0, baseline=None)
    other = run.assign(score=0.5, baseline="prevalence")
    rows = score(table({"x": true}, None), pd.concat([run, other]), "auroc")
    assert value(rows) == pytest.approx(metrics.roc_auc_score(true, given))


@pytest.mark.parametrize("kind", [np.asarray, list, pd.Series])
def test_arrays_and_lists_are_taken_as_scikit_learn_takes_them(kind):
    true, given = BINARY
    assert value(score(kind(true), kind(given), "auroc")) == pytest.approx(metrics.roc_auc_score(true, given))
    grades, scores = graded()
    rows = score(kind(grades), scores, "accuracy")
    assert value(rows) == pytest.approx((scores.argmax(axis=1) == grades).mean())


def test_arrays_that_do_not_fit_are_refused():
    true, given = BINARY
    assert "80 cases in the truth and 79" in refused(true, given[:79])
    assert "predictions[:, 1]" in refused(true, np.stack([1 - given, given], axis=1))
    assert "a table and an array" in refused(table({"x": true}, None), given)
    assert "0 to 3" in refused(graded()[0] + 1, graded()[1])
    assert "(n, classes)" in refused(np.zeros((4, 3, 2)), np.zeros((4, 3, 2)))
    assert "indices" in refused(pd.Series(true), pd.Series(given, index=IDS))
    with pytest.raises(MedvfmError, match="where a file or a data frame is needed"):
        medvfm.evaluate("segmentation", truth=np.zeros((4, 4)), predictions=np.zeros((4, 4)))
