"""The model asked in other words: rows of wordings and paraphrases, and the warning that words decide the result."""

from __future__ import annotations

import pytest

from medvfm import pipeline
from medvfm.core.result_row import ResultRow
from medvfm.engine import variants
from medvfm.io.console import SILENT
from medvfm.report import page
from medvfm.tasks.classification.task import ClassificationTask
from tests.samples.image_text_checkpoints import write_transformers
from tests.samples.pair_studies import PairStudy


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", lambda directory: None)
    monkeypatch.setattr(ClassificationTask, "pictures", lambda *_: {})
    return PairStudy(tmp_path / "study")


def row(value, group=None, low=None, high=None, metric="auroc", target="disc"):
    return ResultRow(metric=metric, target=target, split="val" if group else "test", group=group, baseline=None,
                     value=value, low=low, high=high, level=0.95, method=None, cases=9, patients=9, positives=None,
                     unit="image", better="higher")  # fmt: skip


def test_words_that_move_the_result_more_than_its_interval_are_warned_of():
    test = [row(0.7, low=0.6, high=0.8)]
    worded = [row(0.9, "wording=a"), row(0.65, "wording=b")]
    (said,) = variants.sway(worded, test)
    assert "auroc" in said and "0.65 to 0.90" in said and "(0.20)" in said
    assert variants.sway([row(0.8, "wording=a"), row(0.65, "wording=b")], test) == []
    assert variants.sway(worded, [row(0.7)]) == []  # no interval to compare with
    assert variants.sway([], test) == []
    assert variants.sway(worded, [row(0.7, low=0.6, high=0.8, metric="brier")]) == []
    assert variants.sway([*worded, row(None, "wording=c")], test) == [said]  # without a value it says nothing
    assert variants.sway([row(None, "wording=a"), row(0.3, "wording=b")], test) == []


def test_of_several_classes_the_mean_is_compared():
    test = [row(0.7, low=0.6, high=0.8), row(0.5, low=0.4, high=0.6, target="bar")]
    worded = [row(0.9, "wording=a"), row(0.5, "wording=a", target="bar"), row(0.5, "wording=b"),
              row(0.9, "wording=b", target="bar")]  # fmt: skip
    assert variants.sway(worded, test) == []


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory):
    return write_transformers("clip", tmp_path_factory.mktemp("clip"))


def rows(found, split, start):
    return [r for r in found.record["metrics"] if r["split"] == split and (r["group"] or "").startswith(start)]


def test_every_wording_alone_and_the_paraphrase_are_rows_of_the_run(study, tmp_path, small_clip):
    templates = ["{}", "a photo of the {}", "the heart of {}"]
    options = {"templates": templates, "prompts": {"disc": "lesion"}, "paraphrases": {"disc": ["heart", "lung"]}}
    evaluate = {"metrics": ["auroc"], "confidence": {"resamples": 100}}

    def run(name, changes):
        recipe = study.recipe("zero_shot", str(small_clip), adapter={"options": options | changes}, evaluate=evaluate)
        return pipeline.run(recipe, tmp_path / name, device="cpu", console=SILENT)

    found = run("run", {})
    worded = rows(found, "val", "wording=")
    assert {r["group"] for r in worded} == {f"wording={t}" for t in templates}
    ranked = [r["value"] for r in worded]
    assert ranked == sorted(ranked, reverse=True)
    for template in templates:  # each equals a run with this template alone
        alone = rows(run(f"only {templates.index(template)}", {"templates": [template]}), "val", "")
        own = next(r for r in worded if r["group"] == f"wording={template}")
        assert own["value"] == pytest.approx(alone[0]["value"])
    (paraphrased,) = rows(found, "test", "paraphrased")
    other = run("other words", {"prompts": {"disc": ["heart", "lung"]}, "paraphrases": {}})
    plain = next(r for r in other.record["metrics"] if r["split"] == "test" and r["group"] is None)
    assert paraphrased["value"] == pytest.approx(plain["value"])
    assert not rows(other, "test", "paraphrased")
