"""One recipe of the task segmentation, from its cases to the files of its run directory.

Masks are drawn, written and measured case by case, so that memory holds one case whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core.case import Case
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.result_row import ResultRow, as_records
from medvfm.engine import checkpoint, describe, finished, mask_previews, steps
from medvfm.engine.casewise import CaseJudge, PerCaseValues
from medvfm.engine.context import RunContext
from medvfm.engine.mask_store import MaskStore
from medvfm.engine.measure import CaseMeasurements, measure
from medvfm.engine.plan import Plan
from medvfm.io import patient_hashes as patients
from medvfm.io import run_directory
from medvfm.io import test_openings as ledger
from medvfm.io.dataset.cases import CaseTable as Table
from medvfm.io.writers import masks

CURVE = "dice"  # what robustness curves show
CURVE_CASES = 32


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One fold: who was fitted, what is known of it, its rows, and what its masks measure."""

    learner: Any
    record: dict[str, Any]
    rows: Mapping[str, np.ndarray]
    test: list[CaseMeasurements]
    val: list[CaseMeasurements]


def run(plan: Plan, table: Table, out: Path, around: RunContext) -> dict[str, Any]:
    """Fit, draw, measure and judge; writes everything but the report and returns the record."""
    recipe, say, clock = plan.recipe, around.console.say, steps.Clock()
    judge: CaseJudge = plan.judge
    record = describe.beginning(recipe, plan.card, table.layout, around.device)
    run_directory.write_yaml(out / "recipe.yaml", recipe.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)

    learner = plan.learner()
    data = steps.read(plan.question, learner, table, around)
    clock.lap("reading")
    folds = steps.folds(recipe, data.cases, plan.question.stratify(), learner, around)
    fitted = []
    for number, fold in enumerate(folds):
        one = learner if number == 0 else plan.learner()
        if number:
            one.read(data.cases, replace(around, checkpoint=around.checkpoint / f"fold{number}"))
        fitted.append(_fit(plan, one, data.cases, steps.rows_of(data.cases, fold), around, out / "masks"))
    clock.lap("fitting and drawing")

    openings = ledger.open_test_set(plan.card.name, plan.question.name, plan.question.classes)
    oracle = learner.oracle
    test, val = _gathered(plan, fitted, "test"), _gathered(plan, fitted, "val")
    rows = judge.rows(test, note=oracle) + judge.subgroups(test, recipe.evaluate.subgroups, oracle)
    rows += judge.rows(val, split="val", note=oracle) if val.ids else []
    rows += _robustness(plan, fitted, around)
    clock.lap("judging")

    frames = [test.as_frame("test", hashed := _hashed(data.cases))]
    frames += [val.as_frame("val", hashed)] if val.ids else []
    for name, make in plan.baselines.items():
        say(f"baseline {name}")
        base, base_rows = _baseline(plan, name, make, data.cases, fitted, test, around)
        rows += base_rows
        frames.append(base.as_frame("test", hashed, name))
    clock.lap("baselines")

    run_directory.write_table(out / "measures.parquet", pd.concat(frames, ignore_index=True))
    run_directory.write_table(out / "predictions.parquet", _predictions(test, hashed))
    finished.save(out / "weights", recipe, plan.question, [f.learner for f in fitted], {}, None)
    first = judge.wanted[0]
    shown = mask_previews.write(out, test, _places(fitted), first.name, first.metric.better)
    truth = _presence(learner.store, plan.question)
    record |= {
        "status": "complete",
        "task": describe.task(plan.question),
        "data": record["data"]
        | describe.cases(data.cases, truth, folds[0].assigned, plan.question)
        | {"flow": data.flow, "left_out": data.reasons(), "folds": len(folds), "test_openings": openings},
        "model": {"adapter": recipe.adapter.name, "method": plan.method_name, "method_note": plan.method.summary}
        | learner.adapter.record()
        | ({"oracle": oracle} if oracle else {}),
        "training": fitted[0].record.get("training"),
        "examples": shown,
        "warnings": list(
            dict.fromkeys(
                [
                    *_oracle_warning(oracle),
                    *describe.warnings(plan.card, rows, openings, any(c.patient_id is not None for c in data.cases)),
                    *table.warnings,
                    *(warning for fold in folds for warning in fold.warnings),
                ]
            )
        ),
        "metrics": as_records(rows),
    }
    clock.lap("writing")
    record["seconds"] = clock.seconds()
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(around.checkpoint)
    return record


def _oracle_warning(oracle: str | None) -> list[str]:
    if oracle is None:
        return []
    return [f"Prompts come from the truth ({oracle}): these numbers are those of a user who draws perfect prompts."]


def _fit(
    plan: Plan,
    learner: Any,
    cases: Sequence[Case],
    rows: Mapping[str, np.ndarray],
    around: RunContext,
    folder: Path | None,
) -> _Fitted:
    """Fit on the training cases, then draw and measure the others. Masks of test cases go to `folder`."""

    def score(chosen: Sequence[int], segment: Callable[[int], np.ndarray]) -> float:
        found = [_measured(plan, learner.store, r, segment(r), [plan.select]) for r in chosen]
        return plan.judge.value(found, plan.select)

    record = learner.fit(rows["train"], rows["val"], score if len(rows["val"]) else None)
    parts: dict[str, list[CaseMeasurements]] = {}
    for split in ("val", "test"):
        parts[split] = []
        tracked = around.console.track(rows[split].tolist(), len(rows[split]), f"{split} cases segmented")
        for row in tracked if len(rows[split]) else ():
            drawn = learner.segment(row)
            if split == "test" and folder is not None:
                masks.write_case(folder, cases[row].case_id, drawn, learner.store.place(row), plan.question)
            parts[split].append(_measured(plan, learner.store, row, drawn, plan.judge.wanted))
    return _Fitted(learner, record, rows, parts["test"], parts["val"])


def _measured(
    plan: Plan, store: MaskStore, row: int, drawn: np.ndarray, wanted: Sequence[MetricSpec]
) -> CaseMeasurements:
    _, affine, has_size = store.place(row)
    question = plan.question
    return measure(store.truth(row), drawn, affine if has_size else None, wanted, question.kind, len(question.classes))


def _gathered(plan: Plan, fitted: Sequence[_Fitted], split: str) -> PerCaseValues:
    """What all folds measured on a split, numbered by fold."""
    places = [(f, row, n) for n, f in enumerate(fitted) for row in f.rows[split]]
    cases = [f.learner.store.case(int(row)) for f, row, _ in places]
    columns = sorted({name for case in cases for name in case.groups})
    measured = [m for f in fitted for m in (f.test if split == "test" else f.val)]
    if not measured:
        empty = np.zeros((0, len(plan.question.classes)))
        return PerCaseValues((), np.zeros(0, object), np.zeros(0, int), plan.question.classes, {}, empty, empty, {})
    return PerCaseValues.of(
        [case.case_id for case in cases],
        [case.owner for case in cases],
        [fold for _, _, fold in places],
        plan.question.classes,
        measured,
        {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
        all(f.learner.store.place(int(row))[2] for f, row, _ in places),
    )


def _places(fitted: Sequence[_Fitted]) -> list[tuple[Any, int]]:
    """(learner, row) of each test case, in the order of `_gathered`."""
    return [(f.learner, int(row)) for f in fitted for row in f.rows["test"]]


def _robustness(plan: Plan, fitted: Sequence[_Fitted], around: RunContext) -> list[ResultRow]:
    """Rows of the first overlap for each variant of the prompts: group `box_jitter_px=5`. Every variant is an oracle's.

    A variant costs as much as the test itself, so where there are more than CURVE_CASES a draw of them stands for all.
    """
    variants = fitted[0].learner.adapter.variants()
    wanted = [w for w in plan.judge.wanted if w.name == CURVE]
    if not variants or not wanted:
        return []
    judge, share = replace(plan.judge, wanted=wanted), -(-CURVE_CASES // len(fitted))
    drawn = [_draw(f.rows["test"], share, plan.recipe.seed) for f in fitted]
    total, some = sum(len(f.rows["test"]) for f in fitted), sum(map(len, drawn))
    drawn_note = f"; {some} of {total} test cases, drawn by the seed" if some < total else ""
    rows = []
    for variant in around.console.track(variants, len(variants), "variants of the prompts"):
        again = [
            replace(
                f,
                rows={**f.rows, "test": chosen},
                test=[
                    _measured(plan, f.learner.store, int(r), f.learner.segment(int(r), variant), wanted) for r in chosen
                ],
            )
            for f, chosen in zip(fitted, drawn, strict=True)
        ]
        note = f"oracle prompt: {variant}{drawn_note}"
        rows += judge.rows(_gathered(plan, again, "test"), group=variant, note=note)
    return rows


def _draw(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:count])


def _baseline(
    plan: Plan,
    name: str,
    make: Callable[[], Any],
    cases: Sequence[Case],
    fitted: Sequence[_Fitted],
    test: PerCaseValues,
    around: RunContext,
) -> tuple[PerCaseValues, list[ResultRow]]:
    """Fit and judge a baseline on the same folds; its rows and those of the difference to the model."""
    around = replace(around, checkpoint=around.checkpoint / f"baseline-{name}")
    others = []
    for number, model in enumerate(fitted):
        learner = make()
        steps.read_again(learner, cases, name, replace(around, checkpoint=around.checkpoint / f"fold{number}"))
        others.append(_fit(plan, learner, cases, model.rows, around, None))
    found = _gathered(plan, others, "test")
    return found, plan.judge.rows(found, baseline=name, note=others[0].learner.oracle) + plan.judge.differences(
        test, found, name
    )


def _predictions(test: PerCaseValues, hashed: Mapping[str, str]) -> pd.DataFrame:
    """Long: how much of each target truth and mask hold, and where the mask lies."""
    n, t = test.truth_size.shape
    return pd.DataFrame(
        {
            "case_id": np.repeat(np.array(test.ids, dtype=object), t),
            "patient": np.repeat(np.array([hashed[str(p)] for p in test.patients], dtype=object), t),
            "split": "test",
            "target": np.tile(np.array(test.targets, dtype=object), n),
            "truth": test.truth_size.reshape(-1),
            "score": test.predicted_size.reshape(-1),
            "mask": np.repeat([f"masks/{masks.file_stem(i)}" for i in test.ids], t),
            **({"fold": np.repeat(test.fold, t)} if test.fold.any() else {}),
        }
    )


def _presence(store: MaskStore, question: Any) -> np.ndarray:
    """(n, T) 1 where a case has the structure."""
    found = np.zeros((len(store), len(question.classes)))
    for row in range(len(store)):
        truth = store.truth(row)
        if question.kind == "multi_label":
            found[row] = truth.reshape(-1, truth.shape[-1]).any(axis=0)
        elif question.kind == "instances":
            found[row] = truth.any()
        else:
            found[row] = np.bincount(truth.ravel(), minlength=len(question.classes) + 1)[1:] > 0
    return found


def _hashed(cases: Sequence[Case]) -> Mapping[str, str]:
    return patients.hashes({case.owner for case in cases})
