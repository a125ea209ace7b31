"""README's example runs as it stands, and every documented command exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medvfm import pipeline
from medvfm.core import recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


def told(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medvfm.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **HELP}, check=False)


@pytest.mark.slow
def test_the_python_example_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    code = code.replace("runs/from-python", str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "auroc" in done.stdout
    assert re.search(r"\(1, \d+\)", done.stdout)


def commands(*path: str) -> set[str]:
    """Names of the commands that --help lists."""
    text = told(*path, "--help").stdout
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
    done = told(*words)
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
    done = told(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [["data", "idx"], ["data", "index"], ["data", "index", "--nope"]])
def test_a_wrong_command_line_is_the_users_mistake(words):
    done = told(*words)
    assert done.returncode == 2
    assert "Usage: " in done.stderr and "fault" not in done.stderr
