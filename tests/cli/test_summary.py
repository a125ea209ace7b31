"""The terminal's last lines say what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvfm import lookup
from medvfm.cli import listing, main, summary
from medvfm.core.errors import DataError
from medvfm.report import headline, page, run_view
from tests.report.test_page import Elements
from tests.samples import runs, segmentation_runs


def told(directory: Path, capsys, monkeypatch, width: int = 100) -> str:
    monkeypatch.setattr(summary, "WIDTH_OF_A_FILE", width)
    summary.show(directory)
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("width", [100, 80])
@pytest.mark.parametrize("write", [runs.write, segmentation_runs.write])
def test_the_terminal_says_what_the_report_says(tmp_path, capsys, monkeypatch, write, width):
    write(tmp_path)
    text = Elements(page.render(tmp_path).read_text(encoding="utf-8")).text.replace(" .", ".").replace(" ,", ",")
    lines = told(tmp_path, capsys, monkeypatch, width).splitlines()
    found = headline.build(run_view.load(tmp_path))
    said = " ".join(" ".join(lines).split())
    assert found.answer in text and found.answer in said
    assert found.comparison and found.comparison in text and found.comparison in said
    assert all(warning in text and warning.split()[-1] in said for warning in found.warnings)
    assert max(map(len, lines[:-1])) <= width and len(lines) < 40
    assert lines[-1] == f"report: {tmp_path / 'report.html'}"


def test_simulated_data_and_prompts_from_the_truth_are_told(tmp_path, capsys, monkeypatch):
    record = segmentation_runs.write(tmp_path, targets=("nucleus",), kind="instances", oracle="oracle prompt: a box")
    record["data"]["card"]["simulated"] = True
    record["warnings"] = ["The data name no patients."]
    runs.save(tmp_path, record)
    said = " ".join(told(tmp_path, capsys, monkeypatch).split())
    assert "ORACLE PROMPTS" in said and "SIMULATED DATA" in said and "Patients are unknown" in said
    assert "of 42 patients" not in said


def test_runs_are_found_below_several_folders(tmp_path):
    for name in ("a/one", "b/deep/two", "b/.hidden/three"):
        runs.write(tmp_path / name)
    found = dict(lookup.runs([tmp_path / "a", tmp_path / "b"]))
    assert [Path(name).name for name in found] == ["one", "two"]
    assert all(said.startswith("complete, run, ") for said in found.values())
    (tmp_path / "a" / "one" / "run.json").write_text("{")
    assert list(dict(lookup.runs([tmp_path / "a"])).values()) == ["run.json cannot be read"]
    with pytest.raises(DataError, match="no such folder"):
        lookup.runs([tmp_path / "c"])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("baselines", "prevalence"),
        ("augmentations", "RandomRotation"),
        ("postprocess", "drop_smaller@mm3=10"),
        ("cards", "not here]"),
    ],
)
def test_lists(what, said, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["medvfm", "list", what])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and said in capsys.readouterr().out


def test_the_version(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["medvfm", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and capsys.readouterr().out.startswith("medvfm 0.")


def test_lists_on_a_terminal_break_no_word(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(listing, "get_terminal_size", lambda: __import__("os").terminal_size((80, 24)))
    listing.show([("name", "a long summary " * 12)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and max(map(len, lines)) <= 80 and all(line.split()[0] for line in lines)
