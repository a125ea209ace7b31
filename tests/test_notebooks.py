"""The notebooks run from top to bottom, cell by cell as they stand; those that train are minutes long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def execute(path):
    names = {"__name__": path.stem}
    for number, text in enumerate(cells(path)):
        exec(compile(text, f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_they_are_small_hold_no_outputs_and_compile(path):
    assert path.stat().st_size < 50_000
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in found if cell["cell_type"] == "code")
    for text in cells(path):
        compile(text, path.name, "exec")


def test_there_are_three():
    assert len(FILES) == 3


def test_what_another_program_made():
    names = execute(ROOT / "notebooks" / "another_program.ipynb")
    assert names["both"]["patients"].iloc[0] == 60 and len(names["rows"]) >= 2


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ["own_study", "masks"])
def test_those_that_train(name):
    assert execute(ROOT / "notebooks" / f"{name}.ipynb")["run"].metrics["value"].notna().any()
