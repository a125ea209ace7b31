"""New images to a finished run's answers, from the command line and from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medvfm import lookup
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RecipeError, RunError, nearest
from medvfm.core.image import Image
from medvfm.core.protocols import Record, Task
from medvfm.core.task_capabilities import QuestioningTask
from medvfm.engine import novelty, saved_model
from medvfm.engine import predict as engine_predict
from medvfm.engine.plan import Plan
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import input_cases, roots
from medvfm.io.run_directory import Run
from medvfm.models.inputs.given_images import images_of
from medvfm.pipeline import planning, where


def predict(
    run: str | Path | Run,
    images: object,
    out: str | Path | None = None,
    *,
    form: str | None = None,
    prompts: str | Path | None = None,
    question: str | None = None,
    overwrite: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> pd.DataFrame:
    """A finished run's answers for new images: a row an answer, which `out` gets as predictions.csv, files beside it.

    images   a path or several: files, folders, tables with a column `image`, data cards; images that have been read,
             arrays (rows, columns) or (rows, columns, 3), PIL pictures
    form     one of the forms of the run's task: csv for scores; nifti, dicom-seg or png for masks, which need `out`
    question  in words, for a run that answers questions: asked of every image; a table of images may have a column
             `question` instead
    prompts  a table of boxes or points, or a folder of masks, for a model that is prompted
    strict   the first input that cannot be read, or is unlike the images that the model was trained on, raises

    `attrs` of the table holds what else is to be known: `left_out` and `unlike`, both (input, reason).
    """
    finished = Finished.of(run, prompts)
    if finished.planned.task.answers == "embedding":
        raise RunError(
            "this run puts images and texts into one space, and has no answer to an image alone",
            remedy="--query TEXT or --like IMAGE ranks images (medvfm.search), --format parquet or safetensors exports "
            "their vectors",
        )
    chosen = form_of(form, finished.planned.task.formats)
    path = free_table(None if out is None else Path(out), overwrite=overwrite, needed=chosen != "csv")
    inputs, ready = finished.inputs(images, console or Console(), strict=strict)
    cases = _asked(inputs.cases, question, finished.planned.task)
    model = finished.model()
    folder = path.parent if path is not None else Path()
    answered = engine_predict.predict(
        model,
        cases,
        engine_predict.InputReader(model.adapters[0].preparer, ready),
        folder,
        chosen,
        where.context(folder, device, strict, console or Console()),
    )
    if path is not None:
        run_directory.write_table(path, readable(answered.table))
    answered.table.attrs |= {"left_out": [*inputs.left_out, *answered.left_out], "unlike": answered.unlike}
    return answered.table


def _asked(cases: Sequence[Case], question: str | None, task: Task) -> list[Case]:
    """The cases with the question that each is asked, where the task is one of questions."""
    if isinstance(task, QuestioningTask):
        return [task.ask(case, question) for case in cases]
    if question is not None:
        raise RecipeError(f"this run is of {task.name}, and answers no question", where="--question")
    return list(cases)


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run that is asked about new images: its plan, its weights' folder with what adapter.json says, and
    its record."""

    planned: Plan
    weights: Path
    found: Record
    record: Record

    @classmethod
    def of(cls, run: str | Path | Run, prompts: str | Path | None = None) -> Finished:
        directory = run.directory if isinstance(run, Run) else Path(run)
        weights, record = directory / "weights", run_directory.read_record(directory)
        found = saved_model.describe(weights)
        recipe = saved_model.recipe_of(found, directory, None if prompts is None else Path(prompts))
        return cls(planning.plan(recipe), weights, found, record)

    def model(self) -> engine_predict.Model:
        """The trained model, loaded."""
        return engine_predict.Model(
            saved_model.restore(self.weights, self.found, self.planned.model.make),
            self.planned.task,
            saved_model.points_of(self.found),
            saved_model.name_of(self.found),
            self.record.get("data", {}).get("inputs") or {},
            novelty.read(self.weights),
            (self.record.get("self_check") or {}).get("fitted") or [],
        )

    def inputs(self, images: object, console: Console, *, strict: bool) -> tuple[input_cases.Inputs, dict[str, Image]]:
        """Cases of what a user hands in, and the images that are in memory already, by case_id."""
        inputs, ready = _inputs(images, self.planned, console)
        if not inputs.cases:
            name, reason = (inputs.left_out or [("images", "nothing was given")])[0]
            raise DataError(reason, where=name)
        if strict and inputs.left_out:
            raise DataError(inputs.left_out[0][1], where=inputs.left_out[0][0])
        return inputs, ready


def free_table(out: Path | None, *, overwrite: bool, needed: bool = False) -> Path | None:
    """Where predictions.csv goes; answers that lie there are never overwritten unasked."""
    if out is None:
        if needed:
            raise RecipeError("these answers are files, and there is no folder for them", where="out", remedy="give it")
        return None
    path = out / "predictions.csv"
    if path.exists() and not overwrite:
        raise RunError("holds answers already", where=out, remedy="give another --out, or --overwrite")
    return path


def _inputs(given: object, planned: Plan, console: Console) -> tuple[input_cases.Inputs, dict[str, Image]]:
    """Cases of paths, tables, cards and images in memory; the latter by case_id."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    images = {f"image {n}": images_of(one)[0] for n, one in enumerate(several, 1) if not isinstance(one, str | Path)}
    paths = [Path(one) for one in several if isinstance(one, str | Path)]
    cards = [path for path in paths if path.suffix.lower() in (".yaml", ".yml") and path.is_file()]
    named = [Case(name, None, {}) for name in images]
    for path in cards:
        card = lookup.card(str(path))
        root = roots.locate(card, None, {}, console, beside=lookup.beside(str(path)))
        named += tables.read_cases(card, root).cases
    roles = list(dict.fromkeys(role for layout in planned.card.layouts for role in layout.images)) or ["image"]
    return input_cases.given([path for path in paths if path not in cards], named, roles), images


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers with six significant digits: what lies beyond is noise of the machine. Decisions were made before."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: table[name].map(lambda v: float(f"{v:.6g}")) for name in numbers})


def form_of(wanted: str | None, known: Sequence[str]) -> str:
    """The format of answers: the one that is wanted, or the first."""
    if wanted is not None and wanted not in known:
        raise RecipeError(f"no format {wanted!r} for this run; {nearest(wanted, known)}", where="--format")
    return wanted or known[0]
