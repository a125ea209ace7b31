"""axe-core finds nothing on any kind of page, at three widths, light and dark."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import medvfm
from medvfm import pipeline
from medvfm.report import page as report
from tests.samples import runs, segmentation_runs

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: it comes with the dev group")
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
AXE = importlib.util.find_spec("axe_playwright_python")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.skipif(AXE is None, reason="no axe-playwright-python: it comes with the dev group"),
]
SEEN = ((420, "light", True), (768, "light", False), (1280, "dark", True))  # contrast, which is slow, once a scheme
KINDS = ("scores", "masks", "evaluation", "comparison", "card")
CARD = """
name: boxes
title: Boxes in noise
licence: {name: none}
access: local
truth: drawn
labels: {1: {name: box}}
layouts:
  - table: cases.csv
    images: {image: "images/{case_id}.nii.gz"}
    masks: {mask: "labels/{case_id}.nii.gz"}
    groups: {sex: "{sex}"}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    runs.write(folder / "scores", n=24)
    segmentation_runs.write(folder / "masks", n=10, doubts=True, baselines={"location": 0.68})
    found = {name: report.render(folder / name) for name in ("scores", "masks")}
    rng, ids = np.random.default_rng(0), [f"c{n}" for n in range(40)]
    truth = pd.DataFrame({"case_id": ids, "patient_id": ids, "lesion": rng.permutation(40) % 2})
    given = {name: pd.DataFrame({"case_id": ids, "lesion": rng.random(40)}) for name in ("mine", "theirs")}
    medvfm.evaluate("classification", truth=truth, predictions=given["mine"], threshold=0.5, out=folder / "evaluation")
    medvfm.compare(given, truth=truth, metrics=["auroc"], out=folder / "comparison")
    card, root = _boxes(folder / "boxes")
    return {
        **found,
        **{name: folder / name / "report.html" for name in ("evaluation", "comparison")},
        "card": pipeline.show_data(card, root, None, folder / "card")[0],
    }


def _boxes(folder: Path) -> tuple[str, str]:
    rng, rows = np.random.default_rng(0), ["case_id,patient_id,sex"]
    for n in range(4):
        mask = np.zeros((20, 24, 8), np.uint8)
        mask[4:9, 5:12, 2:6] = 1
        for name, voxels in (("images", rng.integers(0, 200, mask.shape).astype(np.uint8)), ("labels", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), folder / name / f"c{n}.nii.gz")
        rows.append(f"c{n},p{n},{'FM'[n % 2]}")
    (folder / "cases.csv").write_text("\n".join(rows))
    (folder / "boxes.yaml").write_text(CARD)
    return str(folder / "boxes.yaml"), str(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def axe() -> str:
    assert AXE is not None and AXE.submodule_search_locations
    return (Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def faults(browser: playwright.Browser, axe: str, page: Path, width: int, scheme: str, contrast: bool) -> list[str]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(page.as_uri())
    opened.evaluate(axe)  # by the browser's own tools, which the page's policy does not bind
    asked = "axe.run(document, {resultTypes: ['violations'], rules: {'color-contrast': {enabled: %s}}})"
    found = opened.evaluate(asked % str(contrast).lower())
    context.close()
    assert len(found["passes"]) > 10  # it did look
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found["violations"]]


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(browser, axe, pages, kind):
    for width, scheme, contrast in SEEN:
        assert faults(browser, axe, pages[kind], width, scheme, contrast) == [], (width, scheme)


def test_axe_would_find_something(browser, axe, pages, tmp_path):
    """Text too pale to be read, and a picture without words."""
    bad = pages["evaluation"].read_text(encoding="utf-8")
    bad = bad.replace("<main", '<p style="color:#ddd">pale</p><main', 1).replace("<h1>", '<img src="data:,"><h1>', 1)
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    found = {fault.partition(":")[0] for fault in faults(browser, axe, tmp_path / "bad.html", 1280, "light", True)}
    assert {"image-alt", "color-contrast"} <= found
