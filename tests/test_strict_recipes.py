"""A key of a recipe that nobody uses is refused; paths are relative to the recipe; a finished run stands alone."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import yaml

import medvfm
from medvfm import cli, lookup, pipeline
from medvfm.core import recipe
from medvfm.core.data_card import load_card
from medvfm.io.console import SILENT
from tests.samples.trial import rooms

QUICK, MASKS = "recipes/quickstart.yaml", "recipes/quickstart_segmentation.yaml"


def command(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["medvfm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.mark.parametrize(
    ("file", "given", "key", "user"),
    [
        (QUICK, ["prepare.spacing=[1,1,1]"], "prepare.spacing", None),
        (QUICK, ["adapter.method=linear_probe", "adapter.rank=8"], "adapter.rank", "dinov2 lora"),
        (QUICK, ["adapter.method=linear_probe", "adapter.blocks=2"], "adapter.blocks", "dinov2 last_blocks"),
        (QUICK, ["adapter.prompts={from: truth}"], "adapter.prompts", None),
        (QUICK, ["task.options={anything: 3}"], "options", None),
        (QUICK, ["baselines=[{name: dinov2, weights: tiny, method: linear_probe, rank: 8}]"], "rank", "dinov2 lora"),
        (MASKS, ["task.pool=max"], "task.pool", "the task classification"),
        (MASKS, ["prepare.patches=mean"], "prepare.patches", None),
    ],
)  # fmt: skip
def test_a_key_that_nobody_uses_is_refused_by_its_name(monkeypatch, capsys, file, given, key, user):
    code, said = command(monkeypatch, capsys, "check", file, *given)
    assert code == 2 and key in said, said
    assert user is None or user in said, said


@pytest.mark.parametrize("more", ["data: {card: virtual_brain}", "options: {anything: 3}"])
def test_a_stage_of_a_head_refuses_data_and_options(monkeypatch, capsys, tmp_path, more):
    text = lookup.recipe(QUICK).read_text()
    stages = "weights: embedded, stages: [{method: linear_probe, %s}]}" % more  # noqa: UP031
    (tmp_path / "r.yaml").write_text(text.replace("weights: embedded}", stages))
    code, said = command(monkeypatch, capsys, "check", tmp_path / "r.yaml")
    assert code == 2 and more.partition(":")[0] in said, said


@pytest.mark.parametrize(
    "given", [["adapter.method=lora", "adapter.rank=8"], ["adapter.method=last_blocks", "adapter.blocks=2"]]
)
def test_a_key_passes_where_something_uses_it(monkeypatch, capsys, given):
    code, said = command(monkeypatch, capsys, "check", QUICK, *given)
    assert code == 0, said


@pytest.mark.parametrize("name", sorted(lookup.shipped("recipes")))
def test_every_shipped_recipe_is_valid(name):
    pipeline.check(recipe.load(lookup.recipe(name)), ready=False)


@pytest.mark.parametrize("name", sorted(lookup.shipped("data_cards")))
def test_every_shipped_card_survives_the_copy_that_a_run_carries(name, tmp_path):
    card = lookup.card(name)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card.as_data(), sort_keys=False))
    assert load_card(tmp_path / "card.yaml") == card


def test_paths_of_a_recipe_are_relative_to_it_and_overrides_to_the_working_directory(tmp_path, monkeypatch):
    study = rooms.BrightnessStudy(tmp_path / "study")
    rooms.open_rooms(monkeypatch)
    file = study.file()
    monkeypatch.chdir(tmp_path)
    assert pipeline.check(recipe.load(file), ready=True)
    assert pipeline.check(recipe.load(file, ["data.card=study/cases.yaml", "data.root=study/data"]), ready=True)
    with pytest.raises(Exception, match=r"nowhere\.yaml"):
        pipeline.check(recipe.load(file, ["data.card=nowhere.yaml"]), ready=False)


def test_a_moved_run_predicts_and_renders_without_its_card_and_its_data(tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    study = rooms.BrightnessStudy(tmp_path / "study")
    extra = [{k: v for k, v in row.items() if k != "split"} | {"case_id": f"x{n}", "patient_id": f"q{n}"}
             for n, row in enumerate(study.rows) if row["split"] == "train"]  # fmt: skip
    study.write("extra.csv", extra)
    stages = [{"method": "open", "train": {"epochs": 1}, "data": {"card": "extra.yaml", "root": "data"}},
              {"method": "open", "train": {"epochs": 1}}]  # fmt: skip
    made = study.recipe(adapter={"name": "trial_towers", "stages": stages}, baselines=[{"name": "shuffled"}])
    out = pipeline.run(made, tmp_path / "run", device="cpu", console=SILENT).directory
    picture = shutil.copy(study.root / "03.png", tmp_path / "new.png")
    shutil.move(out, tmp_path / "away")
    shutil.rmtree(study.folder)
    (tmp_path / "away/report.html").unlink()
    found = medvfm.predict(tmp_path / "away", [picture], tmp_path / "said", device="cpu", console=SILENT)
    assert (tmp_path / "said/predictions.csv").is_file() and not found.attrs["left_out"]
    assert pipeline.report(tmp_path / "away").is_file()
    assert (tmp_path / "away/card.yaml").is_file()


def test_weights_beside_a_recipe_are_found_from_any_folder(tmp_path, monkeypatch):
    """A folder named relative to the recipe: found from any working directory, and named so in adapter.json."""
    study = rooms.BrightnessStudy(tmp_path / "study")
    rooms.open_rooms(monkeypatch)
    (tmp_path / "study/encoder").mkdir()
    file = study.file(adapter={"name": "trial_adapter", "method": "fitted", "weights": "encoder"})
    for place in (tmp_path, tmp_path / "study/data"):
        monkeypatch.chdir(place)
        assert recipe.load(file).located("adapter", "weights", must_be_path=False) == str(tmp_path / "study/encoder")
    out = pipeline.run(recipe.load(file), tmp_path / "run", device="cpu", console=SILENT).directory
    kept = json.loads((out / "weights/adapter.json").read_text())["recipe"]["adapter"]["weights"]
    assert kept == str(tmp_path / "study/encoder")
