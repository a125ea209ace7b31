"""Classification: binary, multi-class, multi-label and ordinal; truth, units and what their scores mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, RecipeError, nearest
from medvfm.core.recipe import Task as Settings

DEFAULT_METRICS = ("auroc", "auprc", "brier", "ece")
KINDS = ("binary", "multi_class", "multi_label", "ordinal")
WORDS = {  # of a report; a key that ends in a kind goes before the key alone
    "action": "classified {count} classes{named}",
    "action_binary": "distinguished {classes} from no {classes}",
    "action_multi_class": "distinguished {count} classes{named}",
    "action_multi_label": "looked for {count} findings{named}",
    "action_ordinal": "graded on {count} levels{named}",
    "class": "class",
    "classes": "classes",
    "holds": "Positive cases of each class",
    "positive": "Positive",
    "positives": "positive",
    "baseline_prevalence": "prevalence alone",
    "baseline_intensity": "voxel intensities",
    "baseline_attributes": "patient attributes",
    "baseline_image_and_attributes": "image and attributes",
}


@dataclass(frozen=True)
class ClassificationTask:
    """What is asked, settled: classes in order, kind, and the unit that is scored.

    Truth is (n, T) float: 0, 1, soft, or NaN for unknown; one column a class. For multi-class and ordinal questions
    a row holds a single 1 or is unknown altogether.
    """

    classes: tuple[str, ...]
    kind: str
    unit: str
    pool: str
    name: str = "classification"

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """Where the recipe names none; the first is what is selected by."""
        return DEFAULT_METRICS

    @property
    def words(self) -> dict[str, str]:
        """What a report says of this task."""
        return WORDS

    @property
    def exclusive(self) -> bool:
        """Exactly one class is right."""
        return self.kind in ("multi_class", "ordinal")

    def truth(self, cases: Sequence[Case]) -> np.ndarray:
        """(n, T) labels of cases."""
        table = np.array([[case.target(c) for c in self.classes] for case in cases], dtype=np.float64)
        table = table.reshape(len(cases), len(self.classes))
        if self.exclusive:
            known = ~np.isnan(table).any(axis=1)
            wrong = known & (np.nansum(table, axis=1) != 1)
            if wrong.any():
                named = ", ".join(cases[i].case_id for i in np.flatnonzero(wrong)[:5])
                raise DataError(
                    f"{int(wrong.sum())} cases have no single class out of {', '.join(self.classes)}: {named}"
                )
            table[~known] = np.nan
        return table

    def labelled(self, case: Case) -> bool:
        """At least one label is known (all of them where one class is right)."""
        unknown = [np.isnan(case.target(c)) for c in self.classes]
        return not (any(unknown) if self.exclusive else all(unknown))


def build(settings: Settings, where: str, card: DataCard) -> ClassificationTask:
    """Settle the question; refuses what it leaves open. Classes are columns, which the card is asked for later."""
    if not settings.classes:
        raise RecipeError("classification needs `classes`", where=where, remedy="as in classes: [lesion]")
    if len(set(settings.classes)) != len(settings.classes):
        raise RecipeError("a class stands twice", where=where)
    if settings.postprocess:
        raise RecipeError("classification draws no masks to post-process", where=where)
    kind = settings.kind or ("binary" if len(settings.classes) == 1 else None)
    if kind is None:
        raise RecipeError("several classes need a `kind`", where=where, remedy=f"one of: {', '.join(KINDS[1:])}")
    if kind not in KINDS:
        raise RecipeError(f"kind {kind!r} is not of classification; {nearest(kind, KINDS)}", where=where)
    if (kind == "binary") != (len(settings.classes) == 1):
        raise RecipeError(f"kind {kind} with {len(settings.classes)} classes", where=where)
    return ClassificationTask(settings.classes, kind, settings.unit, settings.pool)


@dataclass(frozen=True, eq=False)
class Units:
    """Cases gathered into the units that are scored.

    members: for each unit the row numbers of its cases; ids, owners and first rows go with them.
    """

    ids: tuple[str, ...]
    members: tuple[np.ndarray, ...]

    @property
    def first(self) -> np.ndarray:
        """(u,) a row number of each unit, for what all its cases share (patient, split, groups)."""
        return np.array([m[0] for m in self.members], dtype=int)


def gather(cases: Sequence[Case], unit: str) -> Units:
    """Group cases by unit, in order of first appearance. A unit of one case keeps that case's id."""
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(cases):
        if unit == "side" and case.laterality is None:
            raise DataError(f"task.unit side needs a laterality, and {case.case_id} has none")
        rows.setdefault(case.unit_key(unit), []).append(row)
    ids = tuple("+".join(dict.fromkeys(cases[r].case_id for r in members)) for members in rows.values())
    return Units(ids, tuple(np.array(m) for m in rows.values()))


def pooled_truth(truth: np.ndarray, units: Units, exclusive: bool) -> np.ndarray:
    """(u, T): a unit has a finding that any of its cases has; of ordinal and exclusive classes the cases must agree."""
    out = np.full((len(units.members), truth.shape[1]), np.nan)
    for u, members in enumerate(units.members):
        rows = truth[members]
        known = ~np.isnan(rows)
        if exclusive:
            rows = rows[known.all(axis=1)]
            if len(rows) and (rows == rows[0]).all():
                out[u] = rows[0]
        else:
            out[u, known.any(axis=0)] = np.nanmax(rows[:, known.any(axis=0)], axis=0)
    return out


def pooled_scores(scores: np.ndarray, units: Units, pool: str) -> np.ndarray:
    """(u, T) mean or max of the scores of a unit's cases."""
    rows = [scores[m].max(axis=0) if pool == "max" else scores[m].mean(axis=0) for m in units.members]
    return np.array(rows).reshape(len(units.members), scores.shape[1])
