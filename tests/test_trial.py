"""The promise: a task is a folder and an adapter a file. A trial of each goes through every command, with no edit
elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import pytest

from medvfm import cli, pipeline
from medvfm.core.errors import RecipeError
from medvfm.io.run_directory import read_record
from tests.samples.trial import rooms


@pytest.fixture(autouse=True)
def _rooms(monkeypatch):
    rooms.open_rooms(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return rooms.BrightnessStudy(tmp_path / "study")


def medvfm(monkeypatch, capsys, *arguments) -> str:
    """The command line in this process, where the trial is known; what it said on its two outputs."""
    monkeypatch.setattr(sys, "argv", ["medvfm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    return told.out


@pytest.mark.parametrize("method", ["as_it_is", "fitted"])
def test_a_trial_task_and_a_trial_adapter_go_through_every_command(study, tmp_path, monkeypatch, capsys, method):
    def command(*arguments):
        return medvfm(monkeypatch, capsys, *arguments)

    file, out = study.file(), tmp_path / "run"
    assert "recipe is valid" in command("check", file, f"adapter.method={method}", "--ready")
    command("run", file, f"adapter.method={method}", "evaluate.subgroups=[site]", "--out", out, "--device", "cpu")
    record = read_record(out)
    rows = {(r["metric"], r["split"], r["group"]): r for r in record["metrics"]}
    assert rows["absolute_error", "test", None]["cases"] == 8
    assert rows["absolute_error", "test", None]["low"] < rows["absolute_error", "test", None]["high"]
    assert 0 <= rows["within@k=10", "test", "site=A"]["value"] <= 1
    assert rows["absolute_error", "val", None]["value"] > 0
    assert record["task"]["name"] == "trial_brightness"

    command("predict", out, study.root / "03.png", "--out", tmp_path / "new")
    table = pd.read_csv(tmp_path / "new/predictions.csv")
    truth = float(study.rows[3]["answer"])
    assert abs(table["answer"][0] - truth) < 60 and len(table) == 1

    given = pd.read_parquet(out / "predictions.parquet").query("split == 'test'")[["case_id", "answer"]]
    given.to_csv(tmp_path / "given.csv", index=False)
    test = [row for row in study.rows if row["split"] == "test"]
    pd.DataFrame(test).to_csv(tmp_path / "truth.csv", index=False)
    options = ("--truth", tmp_path / "truth.csv", "--predictions", tmp_path / "given.csv", "--out", tmp_path / "ext")
    command("evaluate", "trial_brightness", *options, "--metrics", "absolute_error,within@k=10")
    again = {r["metric"]: r["value"] for r in read_record(tmp_path / "ext")["metrics"]}
    assert again["absolute_error"] == pytest.approx(rows["absolute_error", "test", None]["value"])

    for directory in (out, tmp_path / "ext"):
        (directory / "report.html").unlink()
        command("report", directory)
        assert "absolute error" in (directory / "report.html").read_text().lower()


def test_a_trial_report_has_the_sections_of_every_run(study, tmp_path):
    pipeline.run(study.recipe(evaluate={"subgroups": ["site"]}), tmp_path / "run", device="cpu")
    html = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    sections = set(re.findall(r'<section[^>]* id="(\w+)"', html))
    assert sections >= {"subgroups", "data", "model", "methods", "numbers", "record"}
    text = re.sub(r"<[^>]+>", " ", html)
    assert "absolute error" in text.lower()
    assert not {"None", "nan", "undefined"} & set(text.split())


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("tasks", "trial_brightness                   How bright an image is"),
        ("adapters", "trial_adapter                      A line through the mean"),
        ("methods", "trial_adapter fitted"),
        ("metrics", "within@k=..."),
    ],
)
def test_a_trial_is_listed(monkeypatch, capsys, what, said):
    assert said in medvfm(monkeypatch, capsys, "list", what)


def test_a_trial_is_known_only_where_its_folder_is():
    code = "from medvfm import lookup; print(lookup.modules('tasks'), lookup.modules('adapters'))"
    assert "trial" not in subprocess.check_output([sys.executable, "-c", code], text=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"name": "trial_brightnes"}}, "did you mean 'trial_brightness'"),
        ({"adapter": {"name": "trial_adaptor"}}, "did you mean 'trial_adapter'"),
        ({"task": {"name": "trial_brightness", "options": {"unanswerd": "0"}}}, "did you mean 'unanswered'"),
        ({"evaluate": {"metrics": ["within@k=2.5"]}}, "whole number"),
        ({"evaluate": {"metrics": ["within@k=0"]}}, "whole number"),
        ({"evaluate": {"metrics": ["within@k=inf"]}}, "whole number"),
        ({"evaluate": {"metrics": ["within@k=nan"]}}, "whole number"),
        ({"evaluate": {"metrics": ["within@k=ten"]}}, "is no number"),
        ({"train": {"patience": 3}}, "no use for 'patience'"),
        ({"adapter": {"name": "dinov2", "weights": "tiny"}}, "not trial_brightness"),
    ],
)
def test_what_a_trial_does_not_understand_is_refused(study, changes, said):
    with pytest.raises(RecipeError, match=said):
        pipeline.check(study.recipe(**changes), ready=False)
