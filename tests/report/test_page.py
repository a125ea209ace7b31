"""The page: one file, escaped, the same bytes each time, and whole whatever the run lacks."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from medvfm.core.errors import RunError
from medvfm.report import page as report
from medvfm.report import page_size
from medvfm.report.run_view import load
from tests.samples import runs

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{%x%}$\\frac</svg></style>\x00\x1b"
WRITTEN = ("report.html", "report.md", "metrics.csv")
WHOLE = {
    "cases", "curves", "baselines", "operating", "calibration", "subgroups", "mistakes", "data", "model", "methods",
    "checklist", "numbers", "record", "decision_curve", "selective",
}  # fmt: skip  # sections of a classification
SHOWN = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{%x%}$\\frac</svg></style>"


class Elements(html.parser.HTMLParser):
    """What a browser would make of the page: elements with attributes, and text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))
        self._style = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def sections(self) -> set[str]:
        return {a["id"] for tag, a in self.found if tag == "section"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run, binary, one unit a patient; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("run") / "whole"
    return directory, runs.write(directory)


@pytest.fixture
def changed(run, tmp_path):
    """Render the run with another record; gives the page's elements."""

    def render(change: Any = None, without: tuple[str, ...] = ()) -> Elements:
        directory = tmp_path / "run"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(run[0], directory, ignore=shutil.ignore_patterns("report.html"))
        for name in without:
            (directory / name).unlink()
        if change is not None:
            record = json.loads((directory / "run.json").read_text())
            runs.save(directory, change(record) or record)
        return Elements(report.render(directory).read_text(encoding="utf-8"))

    return render


def test_every_section_of_a_whole_run_is_there(changed):
    page = changed()
    assert page.sections == WHOLE
    links = {a["href"][1:] for tag, a in page.found if tag == "a" and a["href"].startswith("#")} - {"content"}
    ids = {a["id"] for _, a in page.found if "id" in a}
    assert page.sections <= links <= ids
    assert {"classification-case-3", "classification-case-4"} <= links  # a row leads to the picture of its case


def test_nothing_is_loaded_from_elsewhere(run):
    text = report.render(run[0]).read_text(encoding="utf-8")
    page = Elements(text)
    assert not {tag for tag, _ in page.found} & {"link", "iframe", "object", "embed", "base", "form", "video"}
    for _, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/", "data:text/csv;base64,"))
    assert [a for tag, a in page.found if tag == "script"] == [{}]  # its own, within the page
    urls = re.findall(r"url\((.*?)\)", text)
    assert urls == [] or all(u.startswith("#") for u in urls)  # clip paths within a figure
    assert "@import" not in text


def test_text_of_a_record_is_never_markup(run, tmp_path):
    plain = Elements(report.render(run[0]).read_text(encoding="utf-8"))

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: poisoned(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poisoned(v, key) for v in value]
        # What sections choose by keeps its beginning: names of metrics and splits, kinds, files.
        kept = ("metric", "split", "kind", "file", "target", "name", "format", "fixed_on", "on", "created", "better")
        return value + HOSTILE if isinstance(value, str) and key not in kept else value

    shutil.copytree(run[0], tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))
    record = poisoned(json.loads((run[0] / "run.json").read_text()))
    record["thresholds"] = {"lesion": next(iter(record["thresholds"].values()))}
    record["warnings"] = [HOSTILE]
    runs.save(tmp_path / "run", record)
    text = report.render(tmp_path / "run").read_text(encoding="utf-8")
    page = Elements(text)
    assert {tag for tag, _ in page.found} <= {tag for tag, _ in plain.found} | {"ul", "li"}
    assert not [a for _, a in page.found for name in a if name.startswith("on")]
    assert "alert(1)" in page.text and SHOWN in page.text
    assert "\x00" not in text and "\x1b" not in text
    assert text.count("<script") == 1 and "49{%x%}" not in text


@pytest.mark.parametrize("targets", [(HOSTILE.replace("\x00\x1b", ""), "b" * 200)])
def test_names_of_classes_are_escaped_everywhere(tmp_path, targets):
    runs.write(tmp_path, targets=targets, kind="multi_label", title=HOSTILE)
    text = report.render(tmp_path).read_text(encoding="utf-8")
    assert text.count("<script") == 1 and "onerror=alert(2)>" not in text.replace("&gt;", "")
    assert targets[0] in Elements(text).text
    for svg in figures(text):
        ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    ("keys", "gone"),
    [
        (("seconds", "environment", "warnings", "title", "created", "hash", "medvfm", "status", "kind"), None),
        (("recipe", "training"), None),
        (("task",), None),
        (("data",), "data"),
        (("model",), "model"),
        (("thresholds", "previews"), "operating"),
        (("metrics",), "numbers"),
    ],
)
def test_any_part_of_the_record_may_be_missing(changed, keys, gone):
    page = changed(lambda record: {k: v for k, v in record.items() if k not in keys})
    assert gone not in page.sections and "methods" in page.sections
    assert "None" not in page.text and "nan" not in page.text.split()


@pytest.mark.parametrize("key", ["data", "model", "environment", "task", "recipe", "thresholds", "training"])
def test_the_inside_of_a_part_may_be_missing_or_null(changed, key):
    page = changed(lambda record: record | {key: dict.fromkeys(record[key] or {})})
    assert "numbers" in page.sections and "None" not in page.text


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        (("predictions.parquet",), {"curves", "calibration", "operating", "cases", "decision_curve", "selective"}),
        (("previews/000.png", "previews/001.png"), {"mistakes"}),
    ],
)
def test_any_file_may_be_missing(changed, files, gone):
    assert changed(without=files).sections == WHOLE - gone


def test_baselines_lie_in_the_table_of_the_model_or_in_their_own(run, changed, tmp_path):
    """Both forms give the same page."""
    together = changed().text
    directory = tmp_path / "run"
    one = pd.read_parquet(directory / "predictions.parquet")
    model = one[one["baseline"].isna()].drop(columns="baseline")
    model.to_parquet(directory / "predictions.parquet", index=False)
    one[one["baseline"].notna()].to_parquet(directory / "baselines.parquet", index=False)
    assert Elements(report.render(directory).read_text(encoding="utf-8")).text == together
    assert load(directory).scores("lesion", "intensity") is not None
    (directory / "baselines.parquet").unlink()
    assert Elements(report.render(directory).read_text(encoding="utf-8")).sections == WHOLE
    one.assign(score=float("nan")).to_parquet(directory / "predictions.parquet", index=False)  # a task without scores
    page = Elements(report.render(directory).read_text(encoding="utf-8"))
    assert page.sections == WHOLE - {"curves", "calibration", "operating", "cases", "decision_curve", "selective"}


def test_a_record_with_nothing_but_its_format_renders(changed):
    page = changed(lambda record: {"format": 1})
    assert "No number has been computed." in page.text


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"run\.json"):
        report.render(tmp_path)


def test_numbers_that_do_not_exist_say_why(changed):
    def undefined(record: dict[str, Any]) -> None:
        for row in record["metrics"]:
            row |= {"value": None, "low": None, "high": None, "method": None, "note": "one class only: 9 positives"}

    page = changed(undefined)
    assert page.text.count("one class only: 9 positives") >= len(runs.METRICS)
    assert "the AUROC is not defined: one class only: 9 positives" in page.text
    assert "None" not in page.text


def test_scores_that_are_no_probabilities_get_no_calibration_plot(changed):
    reason = "scores are no probabilities"

    def raw(record: dict[str, Any]) -> None:
        for row in record["metrics"]:
            if row["metric"] in ("brier", "ece"):
                row |= {"value": None, "low": None, "high": None, "note": reason}

    page = changed(raw)
    assert f"Not defined: {reason}." in page.text
    assert not [a for tag, a in page.found if a.get("aria-label", "").startswith("Calibration plot")]


def test_unfinished_and_simulated_runs_say_so(changed):
    def simulated(record: dict[str, Any]) -> None:
        record["status"] = "running"
        record["data"]["card"]["simulated"] = True
        record["warnings"] = ["Lakeside brain MRI is simulated: ...", "The data name no patients."]
        probe = {"metric": "auroc", "target": "lesion", "split": "test", "value": 0.77, "low": 0.6, "high": 0.9}
        note = "only 6 patients with the finding and 6 patients without"
        record["shortcuts"] = [probe | {"probe": "image border", "looks_at": "the border", "note": note}]

    text = changed(simulated).text
    assert (
        "SIMULATED DATA" in text
        and "UNFINISHED" in text
        and "Patients are unknown: images of one patient may lie in" in text
    )
    assert "of 120 patients" not in text and "over patients" not in text and "resamples of cases" in text
    assert "6 patients" not in text and "only 6 cases with the finding" in text
    assert "SIMULATED" not in changed().text


def test_the_same_directory_gives_the_same_bytes(run, tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere"
    shutil.copytree(run[0], copy)
    first = report.render(run[0]).read_bytes()
    before = {p: p.read_bytes() for p in sorted(copy.rglob("*")) if p.is_file() and p.name not in WRITTEN}
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert report.render(Path("elsewhere")).read_bytes() == first
        assert matplotlib.rcParams["font.size"] == 30
    assert report.render(run[0]).read_bytes() == first
    after = {p: p.read_bytes() for p in sorted(copy.rglob("*")) if p.is_file() and p.name not in WRITTEN}
    assert after == before


def figures(text: str) -> list[str]:
    """The SVG elements that matplotlib drew."""
    return re.findall(r"<svg xmlns=.*?</svg>", text, flags=re.DOTALL)


def test_figures_are_valid_named_and_share_no_id(run):
    text = report.render(run[0]).read_text(encoding="utf-8")
    found = [ElementTree.fromstring(svg) for svg in figures(text)]
    assert len(found) == 6  # ROC, precision and recall, decision curve, calibration, selective prediction, sweep
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in found)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'xlink:href="#([^"]*)"', text)) | set(re.findall(r"url\(#([^)]*)\)", text))
    assert references <= set(ids)


def test_pictures_and_tables_can_be_read_aloud(changed):
    page = changed()
    assert all(a.get("alt") for tag, a in page.found if tag == "img")
    assert all(a.get("scope") for tag, a in page.found if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert ("html", {"lang": "en"}) in page.found


def test_no_case_patient_or_folder_is_named(run):
    text = report.render(run[0]).read_text(encoding="utf-8")
    for secret in ("DOE", "ROE-3", "jane", "case17", "hp17", "/home"):
        assert secret not in text
    assert "end of file inside the pixels" in text


def test_a_page_that_would_grow_too_large_leaves_out_its_last_pictures():
    picture = '<img src="data:image/webp;base64,{}" alt="x &gt; y">'
    page = f"<p>{picture.format('A' * 900)} and {picture.format('B' * 900)} and {picture.format('C' * 900)}</p>"
    assert page_size.within(page, 5000) == page
    less = page_size.within(page, 2300)
    assert "AAA" in less and "BBB" in less and "CCC" not in less and "left out" in less and len(less) < 2300
    assert "data:" not in page_size.within(page, 0)


def test_no_page_exceeds_the_hard_size_whatever_it_holds():
    """Rows of the longest table go before those of others and before figures; each says so."""
    row = "<tr><th scope='row'>case {}</th><td>é</td></tr>"
    long, short = ("".join(row.format(n) for n in range(k)) for k in (4000, 40))
    figure = '<svg viewBox="0 0 9 9" role="img" aria-label="Curve, area 0.8">' + "<path d='M0 0'/>" * 400 + "</svg>"
    page = f"<table><tbody>{long}</tbody></table>{figure}<table><tbody>{short}</tbody></table>{figure}"
    assert page_size.within(page, hard=10**6) == page
    less = page_size.within(page, hard=30_000)
    assert len(less.encode()) <= 30_000 and less.count("<svg") == 2 and short in less and "case 49<" in less
    left = int(re.search(r"([\d,]+) more rows were left out", less)[1].replace(",", ""))
    assert left + less.count("<td>é") == 4040
    least = page_size.within(page, hard=8000)
    assert "A figure was left out to keep this page small. Curve, area 0.8." in least and least.count("<svg") < 2
    assert Elements(least).found  # still a document whose tags are in order


def test_only_pictures_inside_the_run_are_shown(changed, tmp_path):
    runs.previews(tmp_path, "lesion")  # outside of the run

    def outside(record: dict[str, Any]) -> None:
        for file in ("../previews/000.png", str(tmp_path / "previews/000.png"), "run.json", ""):
            record["previews"].append(record["previews"][0] | {"file": file})

    page = changed(outside)
    assert len([tag for tag, _ in page.found if tag == "img"]) == 2
