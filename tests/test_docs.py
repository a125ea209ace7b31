"""Every code block of the pages is checked: commands and options exist, YAML is a recipe or card, Python compiles."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

import medvfm
from medvfm import lookup
from medvfm.cli import app
from medvfm.core import yaml_source
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataCardError
from medvfm.core.recipe import Recipe, from_data

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
COMMANDS = typer.main.get_command(app)
OTHERS = {"pip", "cp", "nnUNetv2_predict", "nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "export", "cd"}


def blocks(kind):
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, (name, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if name == kind
    ]


def commands(text):
    """The words behind `medvfm` of each line of a block."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        for part in re.split(r"&&|\|", line.partition(" #")[0]):
            words = shlex.split(part)
            while words and ("=" in words[0] or words[:2] == ["uv", "run"]):
                words = words[2:] if words[:2] == ["uv", "run"] else words[1:]
            if words and words[0] == "medvfm":
                yield words[1:]
            else:
                assert (
                    not words or words[0] in OTHERS or words[:2] in (["uv", "build"], ["uv", "pip"], ["uv", "sync"])
                ), line


def wrong(words):
    """What does not exist in a command, or None."""
    command = COMMANDS
    while hasattr(command, "commands"):
        if words[:1] in (["--version"], ["--help"]):
            return None
        if not words or words[0] not in command.commands:
            return f"no command {words[:1]}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return next((f"no option {w}" for w in words if w.startswith("--") and w.partition("=")[0] not in known), None)


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_and_their_options_exist(text):
    assert [(words, said) for words in commands(text) if (said := wrong(words))] == []


def test_a_wrong_command_would_be_found():
    assert wrong(["run", "x.yaml", "--nope"]) == "no option --nope" and wrong(["runn"]) and wrong(["data", "idx"])


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_a_recipe_or_a_card_or_a_part_of_one(text):
    data = yaml_source.parse(text, "a page", DataCardError).data
    if "layouts" in data:
        DataCard.model_validate(data)
        return
    whole = {
        "title": "x",
        "data": {"card": "virtual_brain"},
        "task": {"name": "classification"},
        "adapter": {"name": "dinov2"},
    }
    unknown = set(data) - set(Recipe.model_fields)
    if unknown and unknown <= set(DataCard.model_fields):
        DataCard.model_validate({"name": "x", "title": "x", "layouts": [{"table": "t.csv"}], **data})
        return
    from_data({**whole, **data}, "a page")


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles_and_names_what_there_is(text):
    tree = ast.parse(text)
    named = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "medvfm"}
    assert named <= set(medvfm.__all__), named - set(medvfm.__all__)


def test_every_page_stands_in_the_menu():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    lacking = [page.name for page in PAGES if page.name not in text and page.name != "evaluation.md"]
    assert lacking == []


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(ROOT / "docs" / "hooks"))
    import code_pages
    import schema_pages

    yield schema_pages, code_pages
    sys.path.pop(0)


def test_the_reference_has_every_key_metric_command_and_column(reference):
    schema_pages, code_pages = reference
    recipe_page, card_page = schema_pages.recipe_keys(), schema_pages.card_keys()
    assert all(f"`{key}`" in recipe_page for key in ("accumulate", "decide_at", "per_class", "from"))
    assert all(f"`{key}`" in card_page for key in ("run_lengths", "split_lists", "uncertain", "md5"))
    assert "hd95" in (text := schema_pages.metrics()) and "roc_sensitivity@specificity=..." in text
    assert "`medvfm data check`" in code_pages.commands() or "medvfm data check" in code_pages.commands()
    assert "`low`" in code_pages.files() and "FoundationEncoder" in code_pages.python()
    assert "facebook/dinov2-base" in schema_pages.models() and "dense_head" in schema_pages.adapters()


def test_every_metric_says_its_cost_and_has_an_example_that_runs(reference):
    """The page as it is made: each example gives what stands behind it, and some of them are counted by hand."""
    import metric_examples

    page = reference[0].metrics()
    found = {}
    for name, text in re.findall(r"\n### ([^\n]+)\n.*?```python\n(.*?)\n```", page, flags=re.DOTALL):
        lines, _, said = text.rpartition("  # ")
        assert metric_examples.result(lines) == said, name
        found[name] = said
    tables = [(task, of, rows) for task in lookup.modules("tasks")
              for of, rows in lookup.module("tasks", task, task).TABLES.items()]  # fmt: skip
    assert set(found) == {f"{task}{of}: {name}" for task, of, rows in tables for name in rows}
    for source in ("Heusel et al. 2017", "Binkowski et al. 2018", "Naeem et al. 2020", "Kirillov et al. 2019"):
        assert source in page
    by_hand = {
        "classification: auroc": 5 / 6,  # of six pairs one is the wrong way round
        "classification: sensitivity": 2 / 3, "classification: specificity": 1 / 2, "classification: ppv": 2 / 3,
        "classification: npv": 1 / 2, "classification: f1": 2 / 3, "classification: accuracy": 2 / 4,
        "classification: kappa": (0.5 - 0.375) / (1 - 0.375),
        "classification: brier": (0.01 + 0.36 + 0.36 + 0.04 + 0.01) / 5,
        "classification: ppv@prevalence": (2 / 3 * 0.1) / (2 / 3 * 0.1 + 1 / 2 * 0.9),
        "classification: net_benefit@threshold": 3 / 5 - 1 / 5 * 0.2 / 0.8,
        "generation: fid": 0.25,  # the same spread, and means 0.5 apart
        "question_answering: open_recall": 2 / 3,
        "segmentation of objects: count_error": 0,
        "segmentation of objects: pq": 0.75 / 2,
        "generation: reidentified": 1 / 4,
        "generation: singled_out": 1 / 3,
        "restoration: lesions_erased": 1,
        "restoration: lesions_invented": 0,
    }  # fmt: skip
    for name, value in by_hand.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-3), name
    assert (
        found["segmentation: dice"] == f"[{6 / 7:.4g}, nan]"
    )  # 2 * 3 / (4 + 3); a structure that is not there has none
    assert found["segmentation: spurious"] == "[nan, 1]"
    assert found["retrieval: mean_reciprocal_rank"] == f"[1, {1 / 3:.4g}]"


def test_remedies_are_read_from_the_code(reference):
    _, code_pages = reference
    text = code_pages.all_errors()
    assert text.count("\n| ") > 150 and "--overwrite" in text and "<class" not in text
