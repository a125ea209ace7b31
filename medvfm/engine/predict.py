"""Prediction of new cases by a finished run: folds combined, a row for each answer, files beside the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import PromptedAdapter
from medvfm.core.case import Case
from medvfm.core.errors import DataError, MedvfmError, RunError
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Points, Preparer, Record, Task
from medvfm.core.task_capabilities import RestoringTask, SelfCheckingTask
from medvfm.engine import case_reading, novelty, self_checks, training_inputs
from medvfm.engine.context import RunContext
from medvfm.nn.feature_distance import FeatureDistance


@dataclass(frozen=True, eq=False)
class Model:
    """What a finished run answers with: adapters of its folds, its task, what was fixed on validation data, its name,
    the facts of its training images, how far their features lie from each other, and what the doubts of the model meant
    on its validation cases, where it keeps these."""

    adapters: Sequence[Adapter]
    task: Task
    points: Points
    name: str
    trained_on: Record
    distances: Sequence[FeatureDistance] = ()
    doubts: Sequence[Record] = ()


@dataclass(frozen=True, eq=False)
class InputReader:
    """Arrays of a case and the facts of its images; see case_reading.CaseReader. `images` are there already, by
    case_id."""

    preparer: Preparer
    images: Mapping[str, Image] = field(default_factory=dict)

    def key(self) -> str:
        return self.preparer.key()

    def files(self, case: Case) -> Sequence[Path]:
        return self.preparer.files(case)

    def __call__(self, case: Case) -> tuple[dict[str, Array], list[Record]]:
        given = self.images.get(case.case_id)
        images = self.preparer.images(case) if given is None else [given]
        return dict(self.preparer.arrays(images, case)), [training_inputs.facts(image) for image in images]


@dataclass(frozen=True, eq=False)
class Answered:
    """The rows of predictions.csv, (input, reason) of what was left out, and (input, what is unlike) of what is not
    like the images that the model was trained on."""

    table: pd.DataFrame
    left_out: list[tuple[str, str]]
    unlike: list[tuple[str, str]]


def predict(
    model: Model,
    cases: Sequence[Case],
    reader: InputReader,
    out: Path,
    form: str,
    context: RunContext,
) -> Answered:
    """Answer every case; with `context.strict`, the first that is unreadable or unlike the training images stops."""
    adapters = model.adapters
    if adapters[0].oracle is not None:
        raise RunError(
            f"the run's prompts come from the truth ({adapters[0].oracle}), and new images have none",
            remedy="give boxes or points with --prompts FILE",
        )
    for adapter in adapters:
        adapter.module.to(context.device).eval()
    rows: list[Record] = []
    found = Answered(pd.DataFrame(), [], [])
    read = case_reading.prepared(cases, reader, context.workers, context.strict)
    for case, item in zip(cases, context.console.track(read, len(cases), "predicted"), strict=True):
        given = input_of(case)
        if isinstance(item, str):
            found.left_out.append((given, item))
            continue
        arrays, facts = item
        told = [w for f in facts for w in training_inputs.unlike(f, model.trained_on)]
        asked = Item(model.task.hide(case), arrays, reader.preparer.grid(arrays))
        unlike = "; ".join(dict.fromkeys([*told, *novelty.unlike(adapters, model.distances, asked)]))
        if unlike and context.strict:
            raise DataError(f"unlike the images that the model was trained on: {unlike}", where=given)
        try:
            answered = _answered(model, case, arrays, reader.preparer, out, form)
        except MedvfmError as error:
            if context.strict:
                raise
            found.left_out.append((given, str(error)))
            continue
        if unlike:
            found.unlike.append((given, unlike))
        whose = {"input": given, "case_id": case.case_id}
        for row in answered:
            file = {"file": row.pop("file")} if "file" in row else {}  # first: where the answer lies
            rows.append({**file, **whose, **row, "unlike": unlike, "model": model.name})
    if not rows:
        given, reason = found.left_out[0]
        raise DataError(f"no input could be answered; {given}: {reason}")
    return Answered(pd.DataFrame(rows), found.left_out, found.unlike)


def input_of(case: Case) -> str:
    """The paths of a case as they were given, or its name where it came without a file."""
    return "; ".join(map(str, case.files)) or case.case_id


def _answered(
    model: Model, case: Case, arrays: Mapping[str, Array], preparer: Preparer, out: Path, form: str
) -> list[Record]:
    task = model.task
    grid = preparer.grid(arrays)
    given = task.handed_in(arrays) if isinstance(task, RestoringTask) else arrays
    item = Item(task.hide(case), given, grid)
    if isinstance(model.adapters[0], PromptedAdapter):
        model.adapters[0].check_prompts([case], [case])
    with torch.inference_mode():
        answers = [adapter.answer([item])[0] for adapter in model.adapters]
    answer = task.settled(task.combine(answers, model.points), grid)
    files = task.write_answer(answer, case, grid, preparer, out, form, model.name)
    rows = task.rows(case, answer, grid, model.points, [file.relative_to(out) for file in files])
    if not model.doubts or not isinstance(task, SelfCheckingTask):
        return rows
    signs = [self_checks.signs(task, a, item, mask) for a, mask in zip(model.adapters, answers, strict=True)]
    return task.doubted(rows, signs, model.doubts)
