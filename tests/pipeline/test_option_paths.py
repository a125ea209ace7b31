"""Paths in options are relative to the recipe: of whatever task or adapter declares them, and found from any folder."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from medvfm import lookup
from medvfm.core import recipe
from medvfm.core.options import NamedPath, PathOrName, paths_of
from medvfm.core.recipe import Recipe
from medvfm.pipeline import option_paths

TEXT = """\
title: Somewhere
data: {card: virtual_brain}
task: {name: generation, options: {extractor: "dinov2:encoder", clip: pair, reidentification: "run:gone", images: 2}}
adapter:
  name: clip
  weights: pair
  options: {image: encoder, text: owner/name}
baselines: [{name: llava, options: {language: pair}}, {name: noise}]
"""


@pytest.fixture
def written(tmp_path):
    for name in ("encoder", "pair"):
        (tmp_path / "study" / name).mkdir(parents=True)
    file = tmp_path / "study" / "recipe.yaml"
    file.write_text(TEXT)
    return file


def test_what_lies_beside_the_recipe_is_found_and_names_stay(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_written, study = recipe.load(written), written.parent
    found = option_paths.located(as_written)
    assert found.task.options == {
        "extractor": f"dinov2:{study / 'encoder'}", "clip": str(study / "pair"), "reidentification": "run:gone",
        "images": 2,
    }  # fmt: skip
    assert found.adapter.options == {"image": str(study / "encoder"), "text": "owner/name"}
    assert found.baselines[0].options == {"language": str(study / "pair")}
    assert as_written.task.options["clip"] == "pair"  # the recipe itself is left as it is
    again = option_paths.located(found)
    assert again.task.options == found.task.options
    for located in (found, again):
        assert located.as_data() == as_written.as_data() and located.digest() == as_written.digest()
        assert located.as_data(located=True)["task"]["options"]["clip"] == str(study / "pair")
        assert located.model_copy(update={"seed": 3}).digest() != as_written.digest()


def test_on_the_command_line_a_path_is_relative_to_the_working_directory(written):
    found = option_paths.located(recipe.load(written, ["task.options.clip=pair"]))
    assert found.task.options["clip"] == "pair"
    assert found.task.options["extractor"].endswith("study/encoder")


def test_of_several_tasks_each_has_its_own(written):
    text = TEXT.replace("task: {", "task: [{").replace("images: 2}}", "images: 2}}, {name: retrieval}]")
    written.write_text(text)
    found = option_paths.located(recipe.load(written))
    assert found.tasks[0].options["clip"] == str(written.parent / "pair")
    assert found.as_data()["task"][0]["options"]["clip"] == "pair"


def test_the_kind_of_a_field_decides():
    class Kinds(BaseModel):
        plain: str = ""
        path: PathOrName | None = None
        named: NamedPath = "embedded"

    assert {name: mark.after_name for name, mark in paths_of(Kinds).items()} == {"path": False, "named": True}


def test_options_that_say_folder_or_file_are_declared_as_paths():
    """Of every task and adapter: an option that takes weights and is no declared path would be found by luck alone."""
    for room in ("tasks", "adapters"):
        for name in lookup.modules(room):
            kind = getattr(lookup.module(room, name, name), "Options", None)
            for field, info in (kind.model_fields if kind else {}).items():
                said = (info.description or "").lower()
                if any(word in said for word in (" folder", " hub id", "weights`", ":weights", ":file")):
                    assert field in paths_of(kind), f"{name}.{field}"


def test_a_recipe_in_memory_has_no_folder():
    plain = {"title": "t", "data": {"card": "c"}, "task": {"name": "generation", "options": {"clip": "pair"}},
             "adapter": {"name": "clip"}}  # fmt: skip
    assert option_paths.located(Recipe.model_validate(plain)).task.options["clip"] == "pair"
