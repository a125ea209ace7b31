"""`data show`: a page about a card and its data, which names no patient and no case."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medvfm import pipeline
from medvfm.core.errors import DataError, RunError
from medvfm.io.rendering import palette

PATIENT = "Quillfeather"
CARD = """
name: islands
title: Islands in noise <b>
statement: Boxes in noise, drawn for a test.
licence: {{name: CC0 1.0}}
access: open
instructions: They are made by this test
citation: "Nobody. Journal of Tests 1 (2026)."
population: None at all
truth: known by construction
counts: {{all: {{cases: 9}}}}
labels: {{1: {{name: box}}, 2: {{name: corner}}}}
layouts:
  - table: cases.csv
    case_id: "{{name}}"
    patient_id: "{{name}}"
    images: {{image: "images/{{name}}.{ending}"}}
    masks: {{mask: "labels/{{name}}.{ending}"}}
    split: "{{split}}"
    classes: {{large: large}}
    groups: {{sex: "{{sex}}", age: {{value: "{{age}}", number: true}}}}
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def made(ending, count=6):
        root = tmp_path / "data"
        rng = np.random.default_rng(0)
        rows = ["name,split,large,sex,age"]
        for n in range(count):
            name = f"{PATIENT}_{n}"
            image = rng.integers(0, 200, (24, 30, 10)).astype(np.uint8)
            mask = np.zeros_like(image)
            mask[4 : 10 + n, 4:12, 2:6] = 1
            for folder, voxels in (("images", image), ("labels", mask)):
                path = root / folder / f"{name}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if ending == "png":
                    Picture.fromarray(voxels[:, :, 4]).save(path)
                else:
                    nib.save(nib.Nifti1Image(voxels, np.diag([1, 2, 3, 1])), path)
            rows.append(f"{name},{'train' if n < 4 else 'test'},{n % 2},{'FM'[n % 2]},{40 + n}")
        (root / "cases.csv").write_text("\n".join(rows))
        (tmp_path / "islands.yaml").write_text(CARD.format(ending=ending))
        return str(tmp_path / "islands.yaml"), str(root)

    return made


@pytest.mark.parametrize("ending", ["nii.gz", "png"])
def test_the_page_tells_the_set_and_names_nobody(make, ending):
    card, root = make(ending)
    page, answer = pipeline.show_data(card, root, None, None)
    assert answer == "6 cases of 6 patients can be read; 2 warnings."
    text = page.read_text(encoding="utf-8")
    record = json.loads((page.parent / "run.json").read_text())
    assert page.as_posix().endswith("runs/card-islands/report.html")
    assert record["kind"] == "card"
    assert re.findall(r'<section id="(\w+)"', text) == ["data", "samples", "structures", "measures", "problems"]
    assert text.count('<img src="data:image/webp') == len(record["samples"]) == 6
    if ending == "nii.gz":  # a picture is made smaller, which mixes the colours of its lines
        shown = np.asarray(Picture.open(page.parent / record["samples"][0]["file"])).reshape(-1, 3)
        assert (shown == palette.label_colour(1)).all(axis=1).sum() > 20
    for said in (
        "CC0 1.0",
        "made by this test",
        "complete copy has 9",
        "no mask holds it",
        "Islands in noise &lt;b&gt;",
        "2 (50%)",
    ):
        assert said in text, said
    assert PATIENT not in text + json.dumps(record)
    # by hand: 8 rows of the box, 4 slices of 6 mm3 voxels, 6 to 11 voxels wide; the corner is in no case
    box, corner = record["truth"]["structures"]
    wide = [6, 11] if ending == "png" else [6 * 4 * 6 / 1000, 11 * 4 * 6 / 1000]
    assert (box["present"], corner["present"]) == (6, 0)
    assert [box["low"], box["high"]] == pytest.approx([8 * w for w in wide])
    assert record["truth"]["classes"] == [{"name": "large", "positive": 3, "negative": 3, "soft": 0, "unknown": 0}]
    columns = record["measures"]["axes"]["columns"]
    assert columns["median"] == (30 if ending == "png" else 24)
    pipeline.show_data(card, root, None, None)  # a page is made again where it was


def test_problems_are_told_without_names(make, tmp_path):
    card, root = make("nii.gz")
    label = tmp_path / "data" / "labels" / f"{PATIENT}_2.nii.gz"
    label.write_bytes(label.read_bytes()[:150])
    page, answer = pipeline.show_data(card, root, None, tmp_path / "page")
    assert "5 cases" in answer
    assert "1 error" in answer
    text = page.read_text(encoding="utf-8")
    assert "Cases that cannot be used" in text
    assert PATIENT not in text


def test_the_card_alone_where_its_data_are_not_here(make, tmp_path):
    card, _ = make("png")
    page, answer = pipeline.show_data(card, None, None, tmp_path / "page")
    assert "not on this machine" in answer
    assert "drawn for a test" in page.read_text(encoding="utf-8")
    with pytest.raises(DataError):
        pipeline.show_data(card, str(tmp_path / "nowhere"), None, tmp_path / "page")


def test_a_run_is_never_overwritten(make, tmp_path):
    card, root = make("png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": 1, "kind": "run", "status": "complete"}')
    with pytest.raises(RunError, match="never overwritten"):
        pipeline.show_data(card, root, None, tmp_path / "run")
