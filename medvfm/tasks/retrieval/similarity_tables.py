"""Any program's similarities: a row a query, a column a candidate, beside the true texts, matched by case_id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError, nearest
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.plurals import have, plural, some
from medvfm.io.dataset import prediction_splits, prediction_tables
from medvfm.io.dataset.layout_rows import as_text, is_unknown
from medvfm.io.dataset.prediction_splits import Part
from medvfm.io.dataset.prediction_tables import KNOWN, GivenTable, Table
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.retrieval import gallery
from medvfm.tasks.retrieval.gallery import TEXT_TO_IMAGE
from medvfm.tasks.retrieval.ranked_queries import RankedQueries

TEXT = "text"


class SimilarityTableOptions(BaseModel):
    """What `medvfm evaluate retrieval` takes besides a truth with `case_id` and `text` and a table of similarities."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subgroups: tuple[str, ...] = ()
    allow_missing: bool = False


def match(
    truth: Table, predictions: Table, specs: Sequence[MetricSpec], given: SimilarityTableOptions
) -> tuple[dict[str, PerCaseValues], list[str]]:
    """Values of each split, test first, and notes. A query's candidates are the columns of cases of its split and
    fold; a case without a text is a candidate alone."""
    true = prediction_tables.read_table(truth, "truth")
    similar = prediction_tables.read_table(predictions, "predictions")
    if TEXT not in true:
        choices = nearest(TEXT, map(str, true.frame.columns))
        raise PredictionError(f"no column {TEXT!r}; {choices}", where=true.where)
    for column in given.subgroups:
        if column not in true:
            choices = nearest(column, map(str, true.frame.columns))
            raise PredictionError(f"no column {column!r} in the truth; {choices}", where="--subgroups")
    known = set(true.frame["case_id"])
    named = [str(c) for c in similar.frame.columns if str(c) in known or str(c) not in KNOWN]
    strange = [c for c in named if c not in known]
    if strange:
        raise PredictionError(
            f"{len(strange)} columns name no case of the truth: {some(strange)}",
            where=similar.where,
            remedy="each column besides case_id is a candidate, by its case_id",
        )
    notes = [*true.notes, *similar.notes]
    parts, more = prediction_splits.parts(true, similar)
    found: dict[str, PerCaseValues] = {}
    for part in parts:
        found[part.split], own = _of_part(part, named, specs, given)
        more += own
    return found, list(dict.fromkeys([*notes, *more]))


def _of_part(
    part: Part, named: Sequence[str], specs: Sequence[MetricSpec], given: SimilarityTableOptions
) -> tuple[PerCaseValues, list[str]]:
    for table in (part.truth, part.predictions):
        prediction_tables.refuse_doubled(table, ["case_id"])
    wordless = part.truth.unknown(TEXT)
    silent = set(part.truth.frame["case_id"][wordless])
    asked = part.truth.kept(~wordless)
    rows = part.predictions.kept(~part.predictions.frame["case_id"].isin(silent))
    queries = list(asked.frame["case_id"])
    notes = prediction_tables.missing(queries, list(rows.frame["case_id"]), rows.where, given.allow_missing)
    if silent:
        notes.append(f"{have(len(silent), 'case')} no text: candidates, and no queries.")
    everyone = list(part.truth.frame["case_id"])
    candidates = [c for c in everyone if c in set(named)]
    without = [c for c in everyone if c not in set(named)]
    if without:
        said = f"{plural(len(without), 'case')} without a column of similarities, and so no candidate: {some(without)}"
        if not given.allow_missing or not candidates:
            raise PredictionError(said, where=rows.where, remedy="--allow-missing ranks the others and says so")
        notes.append(said)
    both = [q for q in queries if q in set(rows.frame["case_id"])]
    first = part.truth.first_of_case()
    people, of_people = prediction_tables.owners(part.truth, both)
    fold, of_folds = prediction_splits.folds(part, everyone)
    fold_of = dict(zip(everyone, fold.tolist(), strict=True))
    mine = np.array([fold_of[q] for q in both], dtype=int)
    words = dict(zip(everyone, gallery.numbered([_words(v) for v in first[TEXT]]).tolist(), strict=True))
    of_queries, of_candidates = (np.array([words[c] for c in cases]) for cases in (both, candidates))
    right = (of_queries[:, None] == of_candidates[None, :]) & (of_candidates >= 0)[None, :]
    among = mine[:, None] == np.array([fold_of[c] for c in candidates])[None, :]
    similarity = _numbers(rows, both, candidates)
    values = gallery.measured(similarity, right, among, specs)
    values |= {s.name: _own(s, similarity, both, candidates) for s in specs if s.metric.takes == "cosine"}
    groups = {c: np.array([_text(first.loc[q, c]) for q in both], dtype=object) for c in given.subgroups}
    found = RankedQueries(
        tuple(both),
        people,
        mine,
        (TEXT_TO_IMAGE,),
        {name: np.asarray(numbers, dtype=np.float64)[:, None] for name, numbers in values.items()},
        None,
        {
            "truth": np.array([[as_text(first.loc[q, TEXT])] for q in both], dtype=object),
            "rank": values[gallery.RANK][:, None],
        },
        groups,
        specs=tuple(specs),
    )
    return found, [*notes, *of_people, *of_folds]


def _numbers(rows: GivenTable, queries: Sequence[str], candidates: Sequence[str]) -> Array:
    """(q, n) similarities; an empty cell is refused like one that is no number."""
    found = np.empty((len(rows.frame), len(candidates)))
    for place, column in enumerate(candidates):
        cells = rows.frame[column]
        plain = pd.api.types.is_float_dtype(cells) or pd.api.types.is_integer_dtype(cells)
        numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan) if plain else rows.numbers(column)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            query = rows.frame["case_id"].iloc[bad[0]]
            empty = bool(is_unknown(cells.iloc[bad[0]]))
            what = "there is no similarity" if empty else f"{cells.iloc[bad[0]]} is no similarity"
            row = int(str(rows.frame.index[bad[0]]))
            raise PredictionError(f"{what} of query {query!r} and candidate {column!r}", where=rows.place(row))
        found[:, place] = numbers
    place_of = {case_id: n for n, case_id in enumerate(rows.frame["case_id"])}
    return found[[place_of[q] for q in queries]]


def _own(spec: MetricSpec, similarity: Array, queries: Sequence[str], candidates: Sequence[str]) -> Array:
    """(q,) what a metric of cosines gives of each query and its own candidate, NaN where that has no column."""
    place_of: Mapping[str, int] = {case_id: n for n, case_id in enumerate(candidates)}
    own = [similarity[n, place_of[q]] if q in place_of else np.nan for n, q in enumerate(queries)]
    return np.asarray(spec.metric.function(torch.tensor(own, dtype=torch.float64)).numpy())


def _words(value: object) -> str:
    return "" if is_unknown(value) else gallery.spelled(as_text(value))


def _text(value: object) -> str:
    return "" if is_unknown(value) else as_text(value)
