"""The report names no task and no adapter: what it says of a run stands in the run's record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import medvfm.report
from medvfm.report import page
from medvfm.report.run_view import load
from medvfm.report.sections import baselines, methods
from medvfm.report.sentences import best_baseline
from tests.report.test_page import Elements
from tests.samples import runs

COMMON = {"baselines", "subgroups", "data", "model", "methods", "checklist", "numbers", "record"}
TASK = {
    "name": "counting_cells",
    "kind": "grid",
    "classes": ["red_cell", "platelet"],
    "unit": "image",
    "words": {
        "action": "counted something",
        "action_grid": "counted {classes} square by square",
        "classes": "kinds of cells",
        "class": "kind of cell",
        "holds": "Images with each kind of cell",
        "average": "mean",
        "convention": "Counts were compared square by square.",
        "convention_auroc": "Squares without any cell were left out.",
        "baseline_intensity": "share of dark pixels",
    },
}
MODEL = {
    "adapter": "counter",
    "weights": "org/counter",
    "method": "regression",
    "method_note": "a regression of counts",
    "said": {
        "title": "counter",
        "subject": "A density map of counter",
        "input": ["Images were cut into squares."],
        "prompts": ["No prompts were given."],
    },
}


def render(directory: Path, **parts) -> str:
    record = json.loads((directory / "run.json").read_text())
    runs.save(directory, record | parts)
    return Elements(page.render(directory).read_text(encoding="utf-8")).text


def test_a_task_without_a_folder_of_its_own_has_the_common_sections_in_its_words(tmp_path):
    runs.write(tmp_path)
    text = render(tmp_path, task=TASK, model=MODEL)
    assert Elements((tmp_path / "report.html").read_text(encoding="utf-8")).sections == COMMON
    for said in (
        "A density map of counter counted red cell and platelet square by square (truth: consensus of two "
        "neuroradiologists) in 120 test images of 120 patients,",
        "with a mean AUROC of",
        "The strongest baseline, share of dark pixels, reached",
        "The model was a density map of counter. Images were cut into squares.",
        "Method of adaptation: regression (a regression of counts). No prompts were given.",
        "Counts were compared square by square. Squares without any cell were left out.",
    ):
        assert said in text, said
    assert "lesion from" not in text and "structure" not in text


def test_a_record_without_words_is_told_in_the_words_of_every_run(tmp_path):
    runs.write(tmp_path)
    bare = {key: value for key, value in MODEL.items() if key != "said"}
    text = render(tmp_path, task={"name": "counting_cells"}, model=bare)
    assert "org/counter (a regression of counts) performed counting cells (truth: consensus of two" in text
    assert "The strongest baseline, intensity, reached" in text and "None" not in text


def test_several_tasks_in_one_run_break_nothing(tmp_path):
    record = runs.write(tmp_path)
    rows = [row | {"task": "counting_cells"} for row in record["metrics"]]
    text = render(tmp_path, task=None, tasks=[TASK, record["task"]], metrics=rows)
    assert "square by square" in text


def test_a_reference_is_shown_and_is_no_baseline_to_be_beaten(tmp_path):
    record = runs.write(tmp_path)
    test = [r for r in record["metrics"] if r["metric"] == "auroc" and r["baseline"] == "intensity"]
    best = [r | {"baseline": "real_images", "value": 0.999, "low": 0.99, "high": 1.0} for r in test]
    runs.save(tmp_path, record | {"metrics": record["metrics"] + best})
    view = load(tmp_path)
    found = best_baseline(view)
    assert found is not None and found["baseline"] == "intensity"
    table = Elements(str(baselines.build(view))).text
    assert "Real images reference" in table
    said = str(methods.build(view))
    assert "voxel intensities and patient attributes; differences are paired. For reference, the same was" in said


def test_a_baseline_that_is_an_adapter_goes_by_its_own_words(tmp_path):
    record = runs.write(tmp_path)
    said = {"title": "Counter of squares"}
    runs.save(tmp_path, record | {"baselines": {"intensity": {"said": said, "summary": "a sum"}, "attributes": None}})
    table = Elements(str(baselines.build(load(tmp_path)))).text
    assert "Counter of squares a sum" in table and "Patient attributes" in table


def test_no_task_and_no_adapter_is_named_in_the_code():
    names = ("classification", "segmentation", "dinov2", "sam", "monai")
    named = re.compile("|".join(f"[\"']{name}[\"']" for name in names))
    files = [f for f in Path(medvfm.report.__file__).parent.rglob("*") if f.suffix in (".py", ".j2")]
    assert len(files) > 30
    assert [f.name for f in files if named.search(f.read_text(encoding="utf-8"))] == []
