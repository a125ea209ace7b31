"""Prediction of new cases by a finished run: folds combined, a row for each answer, files beside the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from medvfm.core.capabilities import PromptedAdapter
from medvfm.core.case import Case
from medvfm.core.errors import DataError, MedvfmError, RunError
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Points, Record, Task
from medvfm.engine import case_reading
from medvfm.engine.case_reading import PreparedReader
from medvfm.engine.context import RunContext


def predict(
    adapters: Sequence[Adapter],
    task: Task,
    points: Points,
    cases: Sequence[Case],
    out: Path,
    form: str,
    model: str,
    context: RunContext,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The rows of predictions.csv, and (case_id, reason) of the inputs that were left out."""
    if adapters[0].oracle is not None:
        raise RunError(
            f"the run's prompts come from the truth ({adapters[0].oracle}), and new images have none",
            remedy="take adapter.prompts.from file, grid or adapter, or the method promptless",
        )
    for adapter in adapters:
        adapter.module.to(context.device).eval()
    preparer = adapters[0].preparer
    rows: list[Record] = []
    left_out: list[tuple[str, str]] = []
    read = case_reading.prepared(cases, PreparedReader(preparer), context.workers, context.strict)
    for case, arrays in zip(cases, context.console.track(read, len(cases), "predicted"), strict=True):
        if isinstance(arrays, str):
            left_out.append((case.case_id, arrays))
            continue
        grid = preparer.grid(arrays)
        item = Item(task.hide(case), arrays, grid)
        try:
            if isinstance(adapters[0], PromptedAdapter):
                adapters[0].check_prompts([case.case_id], [case.case_id])
            with torch.inference_mode():
                answers = [adapter.answer([item])[0] for adapter in adapters]
            answer = task.settled(task.combine(answers, points), grid)
            files = task.write_answer(answer, case, grid, preparer, out, form, model)
        except MedvfmError as error:
            if context.strict:
                raise
            left_out.append((case.case_id, str(error)))
            continue
        found = task.rows(case, answer, grid, points, files)
        rows += [{"input": case.case_id, **row, "model": model} for row in found]
    if not rows:
        case_id, reason = left_out[0]
        raise DataError(f"no input could be answered; {case_id}: {reason}")
    return pd.DataFrame(rows), left_out
