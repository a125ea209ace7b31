"""What a page says of retrieval, from a record and a table made by hand."""

from __future__ import annotations

import json
import re
from math import comb

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medvfm.report import headline, page, run_view, text
from medvfm.report.sections.retrieval.rank_curves import Queries
from medvfm.tasks.retrieval.task import RetrievalTask

RANKS = [1, 1, 2, 3, 7, 10]  # of ten candidates, for six queries of three patients
WAYS = ("text_to_image", "image_to_text")


def row(metric, target="text_to_image", group=None, baseline=None, value=0.5):
    return {
        "metric": metric, "target": target, "split": "test", "group": group, "baseline": baseline, "value": value,
        "low": value - 0.1, "high": value + 0.1, "level": 0.95, "method": "wilson", "cases": 6, "patients": 3,
        "positives": None, "unit": "", "better": "higher", "note": "of a trial",
    }  # fmt: skip


def entry(rank, file="previews/000.png"):
    hits = [{"file": file, "right": n + 1 == rank, "score": 0.9 - n / 10, "text": f"text {n}"} for n in range(5)]
    return {"query": f"dark <b> lesion {rank}", "rank": rank, "candidates": 10, "right": 1, "hits": hits,
            "caption": "case 1 of 6 test cases", "own": {"file": file, "score": 0.2}}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    (tmp_path / "previews").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "previews/000.png")
    rows = [row("recall@k=10", way, value=0.6) for way in WAYS] + [row("median_rank", way) for way in WAYS]
    rows += [row("recall@k=10", way, baseline="texts_permuted", value=0.2) for way in WAYS]
    rows += [row("recall@k=10", way, "within plane", value=0.8) for way in WAYS]
    rows += [row("recall@k=10", way, "within plane", "texts_permuted", 0.4) for way in WAYS]
    rows += [row("recall@k=10", way, f"sex={s}", value=0.7) for way in WAYS for s in "FM"]
    record = {
        "format": 1, "kind": "run", "status": "complete", "title": "Words",
        "task": RetrievalTask(("plane",)).describe(),
        "model": {"weights": "some/weights"}, "baselines": {"texts_permuted": {"name": "texts_permuted"}},
        "metrics": rows, "data": {"card": {"name": "trial"}},
        "retrieval": {
            "gallery": [entry(1), entry(6)],
            "similarity": {"cases": [1, 2], "of": 6, "texts": ["a <i>", "b"], "values": [[0.9, 0.1], [0.2, 0.8]],
                           "right": [[1, 0], [0, 1]]},
        },
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(record))
    table = [
        {"case_id": f"c{n}", "patient": f"p{n // 2}", "split": "test", "fold": 0, "target": way, "baseline": None,
         "metric": metric, "value": float(value)}
        for way in WAYS
        for n, rank in enumerate([*RANKS, np.nan])
        for metric, value in (("rank", rank), ("candidates", 10), ("right", 0 if np.isnan(rank) else 1 + n % 2))
    ]  # fmt: skip
    pd.DataFrame(table).to_parquet(tmp_path / "measures.parquet")
    return tmp_path


def section(html, name):
    return re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL)[0]


def test_curves_are_counted_and_chance_is_of_all_orders(run):
    queries = Queries.of(run_view.load(run), "text_to_image")
    k = np.arange(1, 11)
    assert queries.curve(k).tolist() == pytest.approx([np.mean(np.array(RANKS) <= m) for m in k])
    chance = [np.mean([1 - comb(10 - r, m) / comb(10, m) for r in (1, 2, 1, 2, 1, 2)]) for m in k.tolist()]
    assert queries.chance(k).tolist() == pytest.approx(chance)
    low, high = queries.band(k, 0.95)
    assert (low <= queries.curve(k)).all() and (queries.curve(k) <= high).all()


def test_curves_of_folds_are_averaged_and_not_pooled(run):
    table = pd.read_parquet(run / "measures.parquet")
    table["fold"] = (table["case_id"] == "c5").astype(int)  # one query of six, at rank 10
    table.to_parquet(run / "measures.parquet")
    queries = Queries.of(run_view.load(run), "text_to_image")
    assert queries.curve(np.array([9])).tolist() == [0.5]


def test_the_page_shows_every_section(run):
    html = page.page(run_view.load(run))
    sections = re.findall(r'<section id="(\w+)"', html)
    order = ["rank_curves", "baselines", "within_columns", "query_gallery", "similarity_matrix", "subgroups"]
    assert [s for s in sections if s in order] == order
    assert "10 candidates" in section(html, "rank_curves") and 'role="img"' in section(html, "rank_curves")
    gallery = section(html, "query_gallery")
    assert gallery.count("data:image/png") == 12 and gallery.count('class="right"') == 1
    assert "Rank 6 of 10" in gallery and "dark &lt;b&gt; lesion" in gallery
    matrix = section(html, "similarity_matrix")
    assert "0.850" in matrix and "0.150" in matrix and "a &lt;i&gt;" in matrix


def test_rows_within_a_column_stand_beside_those_of_texts_dealt_anew_and_are_no_subgroup(run):
    html = page.page(run_view.load(run))
    within = re.sub(r"<[^>]+>", " ", section(html, "within_columns"))
    assert "Text to image, within plane alone" in within and "Texts dealt anew at random" in within
    assert re.search(r"within plane alone.*0\.80.*0\.40", within, re.DOTALL)
    assert "within" not in section(html, "subgroups").lower()
    assert re.search(r"<td>texts dealt anew at random</td><td>within plane</td><td>Test</td>", section(html, "numbers"))


def test_the_first_numbers_have_a_direction_beside_the_other(run):
    view = run_view.load(run)
    found = headline.build(view)
    assert found.answer.endswith("with a recall at 10 of 0.60 (95% CI 0.50 to 0.70) from text to image.")
    assert found.table.columns == ("", "Text to image", "95% CI", "Image to text", "95% CI")
    assert found.table.rows[0] == ("Recall at 10", "0.60", "0.50 to 0.70", "0.60", "0.50 to 0.70")
    assert found.table.notes[0] == "of a trial"
    assert "texts dealt anew at random, reached 0.20" in found.comparison


def test_a_run_without_tables_and_pictures_has_a_page(run):
    (run / "measures.parquet").unlink()
    record = json.loads((run / "run.json").read_text())
    del record["retrieval"]
    (run / "run.json").write_text(json.dumps(record))
    html = page.page(run_view.load(run))
    assert "query_gallery" not in html and "rank_curves" not in html and "within_columns" in html


def test_a_metric_among_the_first_k_is_read_as_it_is_said():
    assert text.metric("recall@k=10") == "recall at 10"
    assert text.metric("recall@k=1_difference") == "difference in recall at 1"
