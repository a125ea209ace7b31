"""Every command that README documents exists, and answers; test_docs_run.py runs its example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medvfm import pipeline
from medvfm.core import recipe
from tests.samples.command import command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def commands(*path: str) -> set[str]:
    """Names of the commands that --help lists."""
    text = command(*path, "--help").stdout
    return set(re.findall(r"^\W*([a-z]+)\s{2,}\S", text.partition("Commands")[2], re.M))


def test_every_command_is_documented_and_every_documented_one_exists():
    there = commands() - {"data"}
    documented = set(re.findall(r"medvfm ([a-z]+)", README.partition("## What there is")[2])) - {"data"}
    assert there <= documented, there - documented
    assert documented <= there, documented - there
    told_data = set(re.findall(r"[a-z]+", re.search(r"`medvfm data ([^`]*)`", README).group(1)))
    assert commands("data") == told_data


@pytest.mark.parametrize(
    "words", [("list", "metrics"), ("list", "adapters"), ("list", "cards"), ("schema", "card"), ("doctor",),
              ("check", "recipes/quickstart.yaml")]
)  # fmt: skip
def test_commands_that_only_tell(words):
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_pass_check(path):
    assert pipeline.check(recipe.load(path), ready=False)[0].endswith("recipe is valid")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "recipes/quickstart.yaml", "seed=hello"), "seed"),
        (("run", "recipes/no_such.yaml"), "no such file"),
        (("list", "metric"), "did you mean 'metrics'"),
        (("schema", "recipes"), "did you mean 'recipe'"),
        (("report", "nowhere"), "run.json"),
        (("predict", "nowhere", "x.png", "--out", "y"), "run.json"),
        (("data", "root", "virtual_brain", "nowhere"), "no such folder"),
    ],
)
def test_the_users_mistakes_are_one_line_and_exit_2(words, said):
    done = command(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [["data", "idx"], ["data", "index"], ["data", "index", "--nope"]])
def test_a_wrong_command_line_is_the_users_mistake(words):
    done = command(*words)
    assert done.returncode == 2
    assert "Usage: " in done.stderr and "fault" not in done.stderr


def test_the_program_ends_with_the_same_status_in_a_process_of_its_own():
    call = [sys.executable, "-m", "medvfm.cli", "report", "nowhere"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "run.json" in done.stderr and "Traceback" not in done.stderr
