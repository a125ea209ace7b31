"""Minutes long: what the first command of README must reach, measured as a user's process. Run with -m acceptance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).parents[1]


def run(out: Path, *overrides: str) -> tuple[dict, float, float]:
    """The record, seconds, and GiB of the largest process."""
    words = [sys.executable, "-m", "medvfm.cli", "run", "recipes/quickstart.yaml", *overrides, "--out", str(out)]
    start = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return json.loads((out / "run.json").read_text()), time.monotonic() - start, usage.ru_maxrss / 2**20


def auroc(record: dict, baseline: str | None = None) -> dict:
    return next(
        r
        for r in record["metrics"]
        if r["metric"] == "auroc" and r["split"] == "test" and not r["group"] and r["baseline"] == baseline
    )


def test_the_quickstart_in_its_time_and_memory_and_again_from_the_cache(tmp_path):
    first, cold_s, gib = run(tmp_path / "a")
    again, warm_s, _ = run(tmp_path / "b")
    assert cold_s < 240
    assert gib < 4
    assert warm_s < 40
    assert [r["value"] for r in first["metrics"]] == [r["value"] for r in again["metrics"]]


def test_lesions_are_found_and_a_histogram_does_not_find_them_for_four_of_five_seeds(tmp_path):
    good = 0
    for seed in range(5):
        record, _, _ = run(tmp_path / str(seed), f"seed={seed}")
        row, histogram = auroc(record), auroc(record, "intensity")
        good += row["low"] > 0.6 and 0.75 <= row["value"] <= 0.95 and row["value"] - histogram["value"] >= 0.1
    assert good >= 4


@pytest.mark.parametrize(
    "override", [("adapter.method=lora",), ("adapter.method=full", "adapter.weights=tiny", "train.epochs=12")]
)
def test_training_methods_run_from_the_same_recipe(tmp_path, override):
    record, _, _ = run(tmp_path / "a", *override)
    assert record["training"]["audit"]["frozen_moved"] == 0
    assert auroc(record)["value"] is not None
