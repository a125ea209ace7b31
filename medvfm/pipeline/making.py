"""Images from words: a finished run of generation asked for what a prompt says, or again for a case's condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medvfm.core.capabilities import MakingAdapter
from medvfm.core.errors import RecipeError, RunError, nearest
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter
from medvfm.engine.predict import InputReader
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.run_directory import Run
from medvfm.pipeline import where
from medvfm.pipeline.predicting import Finished, form_of, free_table

STRENGTH = 0.6
SEED_LIMIT = 2**63


def make(
    run: str | Path | Run,
    out: str | Path,
    *,
    prompt: str | None = None,
    case: str | None = None,
    image: object = None,
    strength: float | None = None,
    seed: int = 0,
    count: int = 1,
    form: str | None = None,
    overwrite: bool = False,
    device: str | None = None,
    console: Console | None = None,
) -> pd.DataFrame:
    """Images that a finished run makes, as files in `out` and a row each in predictions.csv: file, prompt, seed.

    prompt  what is asked for, in words; or case: a case_id of the run, whose condition is asked for again
    image   to begin with, a path or as medvfm.predict takes it: `strength`, above 0 and up to 1, is the share of the
            noise that it gets (0.6 without); the less, the more of it stays
    seed    of the first image; the others follow. The same seed and words give the same image
    form    png with 8 bits (None, of pictures), png16, or dicom: Secondary Capture of one series; nifti of volumes
    """
    if (prompt is None) == (case is None):
        raise RecipeError("images are made for a prompt or for a case, one of the two", where="--prompt")
    if count < 1 or not 0 <= seed < SEED_LIMIT - count:
        raise RecipeError(
            f"{count} images from seed {seed} on: both are whole numbers, at least 1 and 0", where="--seed"
        )
    share = _strength(image, strength)
    folder = Path(out)
    path = free_table(folder, overwrite=overwrite, needed=True)
    assert path is not None
    finished = Finished.of(run)
    chosen = form_of(form, finished.planned.task.formats)
    model = finished.model()
    adapter = model.adapters[0]
    if not isinstance(adapter, MakingAdapter):
        raise RunError(
            f"this run answers {finished.planned.task.name} and makes no images", where="--prompt", remedy="give images"
        )
    directory = run.directory if isinstance(run, Run) else Path(run)
    words = prompt if prompt is not None else _condition(directory, str(case))
    name = "prompt" if case is None else str(case)
    asked = replace(adapter.asked(words), case_id=name)
    arrays = {} if image is None else _prepared(finished, adapter, image, console or Console())
    adapter.module.to(where.context(folder, device, False, console or Console()).device).eval()
    with torch.inference_mode():
        answer = adapter.make([Item(asked, arrays)], [list(range(seed, seed + count))], share)[0]
    task = model.task
    files = task.write_answer(answer, asked, None, adapter.preparer, folder, chosen, model.name)
    rows = task.rows(asked, answer, None, model.points, [file.relative_to(folder) for file in files])
    table = pd.DataFrame([{**row, "case_id": name, "model": model.name} for row in rows])
    run_directory.write_table(path, table)
    return table


def one_input(inputs: Sequence[Path] | None) -> Path | None:
    """The image to begin with, where one was given."""
    if inputs and len(inputs) > 1:
        raise RecipeError("images are made from words and one image at most", where=str(inputs[1]))
    return inputs[0] if inputs else None


def _strength(image: object, strength: float | None) -> float | None:
    if image is None and strength is not None:
        raise RecipeError(
            "a strength belongs to an image to begin with", where="--strength", remedy="give the image, or leave it out"
        )
    if strength is not None and not 0 < strength <= 1:
        raise RecipeError(f"a strength of {strength:g}", where="--strength", remedy="above 0, and 1 at most")
    return None if image is None else STRENGTH if strength is None else strength


def _prepared(finished: Finished, adapter: Adapter, image: object, console: Console) -> Mapping[str, np.ndarray]:
    """The arrays of one image, as the adapter takes it."""
    inputs, ready = finished.inputs(image, console, strict=True)
    if len(inputs.cases) != 1:
        raise RecipeError(f"{len(inputs.cases)} images, where one is begun with", where=str(image))
    return InputReader(adapter.preparer, ready)(inputs.cases[0])[0]


def _condition(directory: Path, case_id: str) -> str:
    """What a case of the run was asked for, in words, by its name in predictions.parquet."""
    table = pd.read_parquet(directory / run_directory.PREDICTIONS)
    own = table[table["baseline"].isna()]
    found = own[own["case_id"] == case_id]
    if not len(found):
        raise RecipeError(
            f"the run has no case {case_id!r}; {nearest(case_id, own['case_id'].unique())}", where="--case"
        )
    return str(found["truth"].iloc[0] or "")
