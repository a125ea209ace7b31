"""The report of a segmentation: cases drawn once, counts those of the record, oracles named, whole with parts gone."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from medvfm.report import page as report
from medvfm.report import per_case, sentences
from medvfm.report import run_view as view
from medvfm.report import text as words
from medvfm.report.charts import swarm
from medvfm.report.sections import methods
from medvfm.report.sections.segmentation import agreement, case_by_case, missed
from tests.report.test_page import HOSTILE, SHOWN, Elements, figures
from tests.samples import runs, segmentation_runs

PLAIN = {
    "cases", "case_by_case", "baselines", "case_pictures", "missed", "agreement", "subgroups", "data", "model",
    "methods", "checklist", "numbers", "record",
}  # fmt: skip
ORACLE = "oracle prompt: a box an object"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Two structures in volumes, no prompts; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("run") / "volumes"
    return directory, segmentation_runs.write(directory)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Nuclei, each prompted by its true box, with variants of the prompts."""
    directory = tmp_path_factory.mktemp("run") / "objects"
    record = segmentation_runs.write(
        directory, targets=("nucleus",), kind="instances", oracle=ORACLE, variants=True, n=60,
        model=segmentation_runs.SAM, baselines={"ellipse": 0.8},
    )  # fmt: skip
    return directory, record


def rendered(directory) -> Elements:
    return Elements(report.render(directory).read_text(encoding="utf-8"))


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"', 1)[1].split("</section>", 1)[0]


def rows_of(record, metric, **wanted):
    wanted = {"split": "test", "group": None, "baseline": None} | wanted
    return [r for r in record["metrics"] if r["metric"] == metric and all(r[k] == v for k, v in wanted.items())]


def test_sections_are_those_that_have_data(volumes, objects):
    assert rendered(volumes[0]).sections == PLAIN
    assert rendered(objects[0]).sections == PLAIN | {"robustness"}


@pytest.mark.parametrize("kind", ["semantic", "multi_label"])
def test_every_case_is_drawn_once(tmp_path, kind):
    record = segmentation_runs.write(tmp_path, kind=kind, n=30, baselines={"location": 0.6})
    page = section(report.render(tmp_path).read_text(encoding="utf-8"), "case_by_case")
    tables = page.split('<table class="forest swarm">')[1:]
    for metric, table in zip(("dice", "hd95_detected", "nsd@tolerance=2"), tables, strict=True):
        for mark, baseline in (("<circle cx", None), ("<rect x", "location")):
            rows = [r for r in rows_of(record, metric, baseline=baseline) if r["target"] != "mean"]
            assert table.count(mark) == sum(r["cases"] for r in rows) > 40


def test_median_and_quartiles_are_those_of_the_table(volumes):
    measures = pd.read_parquet(volumes[0] / "measures.parquet")
    mine = measures[(measures["split"] == "test") & measures["baseline"].isna() & (measures["metric"] == "dice")]
    page = section(report.render(volumes[0]).read_text(encoding="utf-8"), "case_by_case")
    for target in ("anterior_part", "posterior_part"):
        low, middle, high = np.nanpercentile(mine.loc[mine["target"] == target, "value"], [25, 50, 75])
        assert f"<b>{middle:.2f}</b> " in page and f"({low:.2f} to {high:.2f})" in page


def test_missed_structures_have_no_place_on_an_axis_of_distances(tmp_path):
    metrics = ("dice", "hd95", "missed")
    record = segmentation_runs.write(tmp_path, metrics=metrics, baselines={})
    found = view.load(tmp_path)
    for target in ("anterior_part", "posterior_part"):
        lost = rows_of(record, "missed", target=target)[0]["value"]
        cases = rows_of(record, "hd95", target=target)[0]["cases"]
        strip = case_by_case._strip(found, "hd95", target, None)
        assert lost > 0 and strip.values is not None and len(strip.values) == cases - lost
        assert strip.values.max() < segmentation_runs.DIAGONAL_MM and f"{lost:.0f} missed" in strip.detail


def test_dots_of_a_swarm_do_not_overlap_and_stay_in_their_strip():
    rng = np.random.default_rng(0)
    for n in (1, 2, 40, 150):
        along = rng.random(n) * swarm.WIDTH_PX
        diameter, across = swarm.beeswarm(along)
        apart = np.hypot(along[:, None] - along, across[:, None] - across)[~np.eye(n, dtype=bool)]
        assert apart.min(initial=99) >= diameter - 1e-6
        assert np.abs(across).max() + diameter / 2 <= (swarm.HEIGHT_PX - swarm.FOOT_PX) / 2 + 1e-9
        again = rng.permutation(n)
        assert sorted(swarm.beeswarm(along[again])[1].round(6)) == sorted(across.round(6))


def test_many_equal_cases_are_squeezed_and_not_lost():
    diameter, across = swarm.beeswarm(np.zeros(70))
    assert len(set(across.round(3))) == 70 and diameter == swarm.DIAMETERS_PX[-1]
    assert len(swarm.beeswarm(np.zeros(20_000))[1]) == 20_000


def test_missed_and_spurious_counts_are_those_of_the_record(volumes):
    directory, record = volumes
    built = missed.build(view.load(directory))
    for target in ("anterior_part", "posterior_part"):
        line = missed._line(view.load(directory), target, "ml")
        assert line is not None
        for name in ("missed", "spurious"):
            row = rows_of(record, name, target=target)[0]
            assert line[name]["hits"] == (row["value"] or 0) and line[name]["cases"] == row["cases"]
        assert len(line["list"]) == line["missed"]["hits"] > 0
        mean = rows_of(record, "false_positive_volume", target=target)[0]["value"]
        assert line["false_positive"] == (None if mean is None else words.number(mean))
    truth = pd.read_parquet(directory / "predictions.parquet")
    truth = truth[(truth["split"] == "test") & truth["baseline"].isna()]
    lost = truth[(truth["target"] == "anterior_part") & (truth["truth"] > 0) & (truth["score"] == 0)]
    for case_id, size in zip(lost["case_id"], lost["truth"], strict=True):
        place = int(case_id.removeprefix("DOE-JANE-")) + 1  # the runs number their cases in the order of the test set
        assert f"case {place} ({words.number(size)}\u00a0ml)" in str(built)


def test_no_case_and_no_patient_is_named(volumes, objects):
    for directory, _ in (volumes, objects):
        text = report.render(directory).read_text(encoding="utf-8")
        assert "DOE" not in text and "hp1" not in text


def test_agreement_is_bland_and_altmans():
    truth = np.array([1.0, 2.0, 3.0, 4.0, 0.0, 0.0])
    predicted = np.array([1.5, 2.0, 2.5, 5.0, 0.0, 0.7])
    found = agreement.Agreement.of(per_case.Sizes(np.arange(6), truth, predicted, np.arange(6).astype(object)), 0.95)
    assert found is not None
    d = np.array([0.5, 0.0, -0.5, 1.0, 0.7])  # the case in which both are empty is no agreement
    spread_ml = 1.96 * np.sqrt(((d - d.mean()) ** 2).sum() / 4)
    assert found.bias == pytest.approx(d.mean())
    assert (found.low, found.high) == pytest.approx((d.mean() - spread_ml, d.mean() + spread_ml), rel=1e-4)
    assert found.mean.tolist() == [1.25, 2.0, 2.75, 4.5, 0.35]
    assert found.spurious.tolist() == [False] * 4 + [True] and not found.missed.any()
    flipped = agreement.Agreement.of(per_case.Sizes(np.arange(6), predicted, truth, np.arange(6).astype(object)), 0.95)
    assert flipped is not None and (flipped.bias, flipped.low) == pytest.approx((-found.bias, -found.high))
    few = per_case.Sizes(np.arange(2), truth[:2], predicted[:2], np.arange(2).astype(object))
    assert agreement.Agreement.of(few, 0.95) is None


def test_sizes_have_the_unit_of_the_run(volumes, objects, tmp_path):
    assert per_case.size_unit(view.load(volumes[0])) == "ml"
    assert per_case.size_unit(view.load(objects[0])) == "objects"
    shutil.copytree(volumes[0], tmp_path / "run")
    table = pd.read_parquet(tmp_path / "run" / "measures.parquet")
    distance = table["metric"].str.startswith(("hd95", "nsd"))
    table.loc[distance, "value"] = np.nan
    sizes = table["metric"].isin(["truth_size", "predicted_size"])
    table.loc[sizes, "value"] = (1000 * table.loc[sizes, "value"]).round()
    table.to_parquet(tmp_path / "run" / "measures.parquet", index=False)
    assert per_case.size_unit(view.load(tmp_path / "run")) == "voxels"
    assert "(voxels)" in report.render(tmp_path / "run").read_text(encoding="utf-8")


def test_robustness_shows_its_rows_and_subgroups_do_not(objects):
    directory, record = objects
    text = report.render(directory).read_text(encoding="utf-8")
    shown = Elements(f"<main>{section(text, 'robustness')}</main>").text
    variants = [r for r in record["metrics"] if r["group"] and "sex" not in r["group"]]
    assert len(variants) == 15
    for row in variants:
        at = row["group"].partition("=")[2] + (" px" if "px" in row["group"] else "")
        assert f"{at} {words.value(row)} {words.interval(row)}" in shown
    subgroups = Elements(f"<main>{section(text, 'subgroups')}</main>").text
    assert "Sex" in subgroups and not re.search("jitter|clicks", subgroups, re.I)
    assert "box jitter of 20 px" in section(text, "numbers") and "10 clicks" in section(text, "numbers")
    said = str(methods.build(view.load(directory)))
    assert "The same was computed by sex." in said and "one click or more" in said


def test_an_oracle_is_named_wherever_its_numbers_stand(objects, volumes, tmp_path):
    directory, record = objects
    page = report.render(directory).read_text(encoding="utf-8")
    found = Elements(page)
    assert "ORACLE PROMPTS" in found.text and "a box an object" in found.text
    assert (
        "With prompts from the truth (oracle prompt: a box an object), a small promptable segmentation network"
        in found.text
    )
    assert "Prompts come from the truth (" not in found.text  # the banner says it
    for name in (PLAIN | {"robustness"}) - {"data", "model", "methods", "checklist", "record"}:
        assert 'class="oracle">oracle prompts</span>' in section(page, name)
    table = page.split('<table class="headline"')[1].split("</table>")[0]
    assert table.count("oracle prompt: a box an object") == table.count('class="noted"') == 1
    assert "oracle" not in report.render(volumes[0]).read_text(encoding="utf-8").split("</style>")[1].lower()
    shutil.copytree(directory, tmp_path / "run")  # an evaluation has no model: then the rows say it
    runs.save(tmp_path / "run", {k: v for k, v in record.items() if k != "model"} | {"kind": "evaluation"})
    assert "ORACLE PROMPTS" in rendered(tmp_path / "run").text


def test_the_answer_and_the_comparison(volumes, tmp_path):
    directory, record = volumes
    row = rows_of(record, "dice", target="mean")[0]
    text = rendered(directory).text
    worst = min((r for r in rows_of(record, "dice") if r["target"] != "mean"), key=lambda r: r["value"])
    assert (
        "A decoder on tf_efficientnet_b0, the encoder fine-tuned in full, outlined anterior part and posterior part "
        "(truth: consensus of two neuroradiologists) in 48 test images of 48 patients."
    ) in text
    named, held = worst["target"].replace("_", " ").capitalize(), 48 - (worst["cases"] < 48) * (48 - worst["cases"])
    assert (
        f"{named}: Dice {worst['value']:.2f} (95% CI {worst['low']:.2f} to {worst['high']:.2f}) in the {held} test "
        "images with it (missed in "
    ) in text
    other = max((r for r in rows_of(record, "dice") if r["target"] != "mean"), key=lambda r: r["value"])
    assert f"{other['target'].replace('_', ' ').capitalize()}: Dice {other['value']:.2f}." in text
    assert f"{row['value']:.2f}" in text
    assert text.index("Anterior part") < text.index("Posterior part")  # the worst stands first
    assert "The strongest baseline, 3D U-Net of MONAI, reached" in text
    segmentation_runs.write(tmp_path, baselines={"ellipse": 0.97, "location": 0.6}, model=segmentation_runs.MONAI)
    found = view.load(tmp_path)
    said = sentences.comparison(found)
    assert said is not None and said.startswith("The strongest baseline without prompts from the truth, location prior")
    text = rendered(tmp_path).text
    assert "A 3D U-Net of MONAI, trained from scratch, outlined" in text
    assert "With prompts from the truth, which the model did not have: ellipse in the true box." in text
    assert "Baselines on the same cases were ellipse in the true box (oracle prompt) and location prior" in text


def test_patients_are_not_counted_where_none_are_named(volumes, tmp_path):
    shutil.copytree(volumes[0], tmp_path / "run")
    runs.save(tmp_path / "run", volumes[1] | {"warnings": ["The data name no patients: images of one patient may ..."]})
    text = rendered(tmp_path / "run").text
    assert "in 48 test images. " in text and "Patients are unknown" in text and "48 patients" not in text
    assert "no patient in two splits" not in text and "bootstrap over images" in text


def test_an_evaluation_of_masks(volumes, tmp_path):
    shutil.copytree(volumes[0], tmp_path / "run")
    kept = ("format", "status", "medvfm", "title", "task", "metrics")
    runs.save(tmp_path / "run", {k: volumes[1][k] for k in kept} | {"kind": "evaluation"})
    page = rendered(tmp_path / "run")
    assert "The predictions outlined anterior part and posterior part in 48 images of 48 patients." in page.text
    assert "Worst was" not in page.text and "part: Dice" in page.text
    assert {"case_by_case", "missed", "agreement", "baselines", "numbers"} <= page.sections and "None" not in page.text


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "DENSE",
            "Volumes were read slice by slice (in the plane of best resolution), with 1 neighbour on either",
        ),
        ("DENSE", "A convolutional decoder on a pyramid of the encoder's features gave each pixel its structure"),
        ("DENSE", "Images were fitted into 96 × 96 px with borders"),
        ("MONAI", "The model was a 3D U-Net of MONAI, trained from scratch. The"),
        (
            "MONAI",
            "patches had 48 × 48 × 48 voxels, two of three around a structure; images were predicted by a sliding",
        ),
        ("SAM", "The model was a small promptable segmentation network, trained from scratch."),
        ("SAM", "Images were taken at their own size, and scaled from their minimum to their maximum."),
    ],
)
def test_methods_of_each_adapter(tmp_path, model, said):
    segmentation_runs.write(tmp_path, n=12, baselines={"location": 0.5}, model=getattr(segmentation_runs, model))
    text = Elements(f"<p>{methods.build(view.load(tmp_path))}</p>").text
    assert said in text and "None" not in text and "pooled" not in text
    assert "The weights of epoch 8, the best by validation Dice, were kept." in text
    assert (
        "a missed structure counts with an overlap of 0. A missed structure counts with the diagonal of the image"
        in text
    )
    assert "The baseline on the same cases was location prior" in text


def test_all_numbers_count_cases(volumes):
    page = section(report.render(volumes[0]).read_text(encoding="utf-8"), "numbers")
    for row in rows_of(volumes[1], "missed"):
        assert f"<b>{row['value']:.0f} of {row['cases']}</b>" in page
    assert "nsd" not in page and "Surface Dice at 2 mm" in page and "mm)" in page


@pytest.mark.parametrize("target", [HOSTILE.replace("\x00\x1b", ""), "b" * 200])
def test_names_of_structures_are_escaped_everywhere(tmp_path, target):
    segmentation_runs.write(tmp_path, targets=(target, "ball"), title=HOSTILE, baselines={"location": 0.6})
    record = json.loads((tmp_path / "run.json").read_text())
    for entry in record["examples"]:
        entry |= {"caption": HOSTILE, "kind": HOSTILE, "metric": HOSTILE}
    record["model"] |= {"decoder": HOSTILE, "oracle": "oracle prompt: " + HOSTILE, "network": {HOSTILE: [HOSTILE]}}
    runs.save(tmp_path, record)
    text = report.render(tmp_path).read_text(encoding="utf-8")
    page = Elements(text)
    assert text.count("<script") == 1 and not [a for _, a in page.found for name in a if name.startswith("on")]
    assert target in page.text and SHOWN in page.text and "\x1b" not in text
    for svg in figures(text):
        ElementTree.fromstring(svg)


def test_nothing_is_loaded_and_no_id_stands_twice(objects):
    text = report.render(objects[0]).read_text(encoding="utf-8")
    page = Elements(text)
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/", "data:text/csv;base64,"))
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert all(a.get("alt") for tag, a in page.found if tag == "img")
    assert all(a.get("scope") for tag, a in page.found if tag == "th")
    assert report.render(objects[0]).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        (("measures.parquet",), {"cases", "case_by_case", "missed", "agreement"}),
        (("predictions.parquet",), set()),
        (tuple(f"previews/{n:03d}.png" for n in range(3)), {"case_pictures"}),
    ],
)
def test_any_file_may_be_missing(volumes, tmp_path, files, gone):
    shutil.copytree(volumes[0], tmp_path / "run")
    for name in files:
        (tmp_path / "run" / name).unlink()
    assert rendered(tmp_path / "run").sections == PLAIN - gone


@pytest.mark.parametrize("key", ["data", "model", "training", "recipe", "examples", "task", "warnings", "metrics"])
def test_any_part_of_the_record_may_be_missing(objects, tmp_path, key):
    shutil.copytree(objects[0], tmp_path / "run")
    runs.save(tmp_path / "run", {k: v for k, v in objects[1].items() if k != key})
    page = rendered(tmp_path / "run")
    assert "methods" in page.sections and "None" not in page.text and "nan" not in page.text.split()


def test_pictures_outside_of_the_run_are_not_shown(volumes, tmp_path):
    shutil.copytree(volumes[0], tmp_path / "run")
    segmentation_runs.examples(tmp_path, 48)
    outside = [e | {"file": f"../{e['file']}"} for e in volumes[1]["examples"]]
    runs.save(tmp_path / "run", volumes[1] | {"examples": outside})
    assert "case_pictures" not in rendered(tmp_path / "run").sections


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nsd@tolerance=2", "surface Dice at 2 mm"),
        ("hd95", "95th percentile Hausdorff distance (mm)"),
        ("hd95_difference", "difference in 95th percentile Hausdorff distance (mm)"),
        ("f1@iou=0.5", "F1 at IoU 0.5"),
        ("dice_difference", "difference in Dice"),
    ],
)
def test_metric_names(name, text):
    assert words.metric(name) == text
