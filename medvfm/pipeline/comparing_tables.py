"""Tables of predictions, or folders of masks, made comparable: each is evaluated against one truth in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvfm import pipeline
from medvfm.core.recipe_sections import Confidence
from medvfm.io import run_directory
from medvfm.io.dataset.prediction_tables import Table

ROWS = Confidence(resamples=100)  # only which metrics there are is read from these rows


def evaluated(
    task: str,
    truth: Table,
    predictions: Mapping[str, Table],
    metrics: Sequence[str] | None,
    folder: Path,
    options: Mapping[str, Any],
) -> list[Path]:
    """A run directory without a page for each of `predictions`, below `folder` and called by its name.

    task, options  as `medvfm evaluate` takes them; what does not fit the truth is refused as there
    """
    directories = []
    for number, (name, table) in enumerate(predictions.items()):
        directory = folder / str(number) / name.replace("/", "_")
        record = pipeline.scored(task, truth, table, metrics, directory, confidence=ROWS, seed=0, **options)
        run_directory.write_json(directory / run_directory.RECORD, record)
        directories.append(directory)
    return directories
