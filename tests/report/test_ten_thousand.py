"""An evaluation of 10,000 cases: its page is small and says side by side what groups show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from medvfm.cli import app
from medvfm.report import page_size

CASES, MOST_ELEMENTS = 10_000, 30_000


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    truth = rng.random(CASES) < 0.3
    score = 1 / (1 + np.exp(2 - 1.5 * (rng.normal(size=CASES) + 1.5 * truth)))
    ids = [f"c{n}" for n in range(CASES)]
    sex = np.where(rng.random(CASES) < 0.5, "F", "M")
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "lesion": truth.astype(int), "sex": sex})
    table.to_csv(folder / "truth.csv", index=False)
    pd.DataFrame({"case_id": ids, "lesion": score}).to_csv(folder / "given.csv", index=False)
    asked = ["evaluate", "classification", "--truth", folder / "truth.csv", "--predictions", folder / "given.csv",
             "--threshold", 0.4, "--subgroups", "sex", "--resamples", 100, "--out", folder / "out"]  # fmt: skip
    told = CliRunner().invoke(app, list(map(str, asked)))
    assert told.exit_code == 0, told.output
    return folder / "out" / "report.html"


@pytest.mark.slow
def test_ten_thousand_cases_stay_small_and_say_what_is_not_shown(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) < page_size.AIM and "are shown: the worst" in text
    truth = pd.read_csv(page.parents[1] / "truth.csv").merge(pd.read_csv(page.parents[1] / "given.csv"), on="case_id")
    women = truth[truth["sex"] == "F"]
    ill = women[women["lesion_x"] == 1]
    part = text.partition('id="by_group"')[2].partition("</table>")[0]
    assert f"<b>{(ill['lesion_y'] >= 0.4).mean():.2f}</b>" in part
    assert f"{100 * women['lesion_y'].mean():.0f}% · {100 * women['lesion_x'].mean():.0f}%" in part


@pytest.mark.slow
def test_a_page_of_ten_thousand_cases_has_few_elements(page):
    """A browser opens it at once; tests/benchmarks/RESULTS.md has the time."""
    assert page.read_text(encoding="utf-8").count("<") < MOST_ELEMENTS
