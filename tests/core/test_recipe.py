"""Recipes: what is read, and that a refusal says file, line, key, what was expected and the nearest name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvfm.core import recipe
from medvfm.core.errors import RecipeError
from medvfm.pipeline import values_used

TEXT = """\
title: Lesion on T1 MRI
seed: 3
data: {card: virtual_brain, options: {patients: 200}}
split: {from: random, fractions: [0.5, 0.15, 0.35]}
task: {name: classification, classes: [lesion], unit: patient}
adapter: {name: dinov2, weights: facebook/dinov2-base, method: linear_probe}
train:
  learning_rate: 1e-4
select: {metric: auroc, on: val}
baselines: [{name: intensity}, {name: attributes, columns: [age, sex]}]
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    return file


def test_values_and_defaults(path):
    found = recipe.load(path)
    assert found.train.learning_rate == 1e-4  # YAML 1.1 alone would read text
    assert found.select.on == "val"  # and `on` as true
    assert found.split.shares == (0.5, 0.15, 0.35)
    assert found.evaluate.confidence.level == 0.95
    assert [b.name for b in found.baselines] == ["intensity", "attributes"]


def test_a_recipe_as_run_reads_back_as_itself(path, tmp_path):
    found = recipe.load(path, ["adapter.method=knn"])
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(found.as_data()))  # JSON is YAML
    assert recipe.load(again).digest() == found.digest()


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("adapter.metod=knn", "adapter.metod", "did you mean 'method'"),
        ("seed=hello", "seed", "expected a valid integer, not 'hello'"),
        ("seed=-1", "seed", "greater than or equal to 0"),
        ("seed=true", "seed", "expected a valid integer"),
        ("task.unit=pateint", "task.unit", "did you mean 'patient'"),
        ("prepare.slices.axis=axail", "prepare.slices.axis", "did you mean 'axial'"),
        ("split.fractions=[0.5,0.5,0.5]", "split", "sum to 1"),
        ("split.folds=5", "split", "exclude each other"),
        ("evaluate.confidence.level=2", "evaluate.confidence.level", "less than 1"),
        ("train.epochs=1.5", "train.epochs", "expected a valid integer"),
        ("task=[{name: a},{nam: b}]", "task.1.nam", "did you mean 'name'"),
        ("baselines=[{nme: x}]", "baselines.0.nme", "did you mean 'name'"),
        ("adapter=dinov2", "adapter", "expected a section of keys (alpha, "),
        ("adapter.stages=[{method: x}]", "adapter", "either method or stages"),
        ("title=", "title", "valid string"),
    ],
)
def test_an_override_goes_through_the_same_checks(path, override, key, said):
    with pytest.raises(RecipeError) as caught:
        recipe.load(path, [override])
    assert said in str(caught.value)
    assert str(caught.value.where).endswith(key)
    assert "\n" not in str(caught.value)


def test_the_line_is_named(path):
    path.write_text(TEXT.replace("learning_rate: 1e-4", "learning_rat: 1e-4"))
    with pytest.raises(RecipeError, match=r"a\.yaml, line 8, train\.learning_rat: unknown key 'learning_rat'; did you"):
        recipe.load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: x\nseed: 0\n  bad: [\n", "line 3"),
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("a: 1\na: 2\n", "line 2: the key 'a' stands twice"),
        ("- 1\n", "expected keys and values"),
        ("", "expected keys and values"),
        ("a: " + "[" * 3000 + "]" * 3000, "broken YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(path, text, said):
    path.write_text(text)
    with pytest.raises(RecipeError, match=said.replace("[", r"\[")):
        recipe.load(path)


def test_an_alias_bomb_is_refused_before_it_grows(path):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]\n"
    path.write_text(bomb)
    with pytest.raises(RecipeError, match="anchors and aliases"):
        recipe.load(path)


def test_overrides_reach_into_lists_and_make_sections(path):
    found = recipe.load(path, ["baselines.1.columns=[age]", "evaluate.confidence.resamples=500", "split.from=card",
                               "split.fractions=null"])  # fmt: skip
    assert found.baselines[1].columns == ("age",)
    assert found.evaluate.confidence.resamples == 500
    assert found.split.origin == "card"


def test_where_the_data_lie_does_not_change_what_is_run(path):
    assert recipe.load(path).digest() == recipe.load(path, ["data.root=elsewhere"]).digest()
    assert recipe.load(path).digest() != recipe.load(path, ["seed=4"]).digest()


def test_the_schema_knows_every_section():
    schema = recipe.json_schema()
    assert {"data", "task", "adapter", "baselines", "evaluate", "split"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_the_schema_that_shipped_recipes_name_is_the_one_in_force():
    folder = Path(__file__).parents[2] / "recipes"
    assert json.loads((folder / "recipe.schema.json").read_text()) == values_used.schema()
    assert all("$schema=recipe.schema.json" in f.read_text().partition("\n")[0] for f in folder.glob("*.yaml"))
