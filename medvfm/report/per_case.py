"""Values of single cases, as measures.parquet has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medvfm.report.run_view import Scores, View

TRUTH, PREDICTED = "truth_size", "predicted_size"  # stand among the metrics


@dataclass(frozen=True, eq=False)
class Values:
    """Cases in which a number exists: their place among all cases (n,) from 1, and the number (n,)."""

    place: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Sizes:
    """How much truth and prediction hold of a structure in every case (n,), and whose the case is."""

    place: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    patients: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return self.truth > 0

    @property
    def missed(self) -> np.ndarray:
        """(n,) the truth holds the structure and nothing is predicted."""
        return self.present & (self.predicted == 0)

    @property
    def spurious(self) -> np.ndarray:
        """(n,) something is predicted where the truth holds none."""
        return ~self.present & (self.predicted > 0)

    def as_scores(self) -> Scores:
        """As units with a label, for shares of them."""
        return Scores(
            self.present.astype(np.int64), self.predicted, self.patients, np.zeros(len(self.place), dtype=np.int64)
        )


def _table(view: View) -> pd.DataFrame | None:
    if view.measures is None:
        return None
    return view.measures[view.measures["split"] == view.split]


def structures(view: View) -> list[str]:
    """Targets with measures, in the order of the task's classes."""
    table = _table(view)
    known = [] if table is None else list(dict.fromkeys(table["target"]))
    classes = [c for c in view.task.get("classes", []) if c in known]
    return [*classes, *(t for t in known if t not in classes)]


def metrics(view: View) -> list[str]:
    """Metrics with a value in some case, in the order of the table."""
    table = _table(view)
    if table is None:
        return []
    known = table.loc[table["baseline"].isna() & table["value"].notna(), "metric"]
    return [m for m in dict.fromkeys(known) if m not in (TRUTH, PREDICTED)]


def baselines(view: View) -> list[str]:
    table = _table(view)
    return [] if table is None else [str(b) for b in dict.fromkeys(table["baseline"].dropna())]


def count(view: View) -> int:
    """All cases, those included in which a number does not exist."""
    table = _table(view)
    return 0 if table is None else int(table.loc[table["baseline"].isna(), "case_id"].nunique())


def values(view: View, metric: str, target: str, baseline: str | None = None) -> Values:
    rows = _rows(view, metric, target, baseline)
    kept = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    return Values(kept["place"].to_numpy(dtype=int), kept["value"].to_numpy(dtype=float))


def sizes(view: View, target: str, baseline: str | None = None) -> Sizes | None:
    """None where the table holds no sizes."""
    truth, predicted = (_rows(view, name, target, baseline).dropna(subset="value") for name in (TRUTH, PREDICTED))
    both = truth.merge(predicted, on=["place", "patient"], suffixes=("_truth", "_predicted"))
    if not len(both):
        return None
    return Sizes(
        both["place"].to_numpy(dtype=int),
        both["value_truth"].to_numpy(dtype=float),
        both["value_predicted"].to_numpy(dtype=float),
        both["patient"].to_numpy(dtype=object),
    )


def size_unit(view: View) -> str:
    """objects; ml; voxels where the files state no size of a voxel: then sizes are whole and distances do not exist."""
    if view.task.get("kind") == "instances":
        return "objects"
    table = _table(view)
    if table is None:
        return "ml"
    distances = table["metric"].str.startswith(("hd95", "assd", "nsd"))
    held = table.loc[table["metric"].isin((TRUTH, PREDICTED)), "value"].dropna()
    whole = bool((held == held.round()).all())
    return "voxels" if whole and not table.loc[distances, "value"].notna().any() else "ml"


def _rows(view: View, metric: str, target: str, baseline: str | None) -> pd.DataFrame:
    """place, patient, value of one metric; a case's place is that among the model's cases, as pictures name it."""
    table = _table(view)
    if table is None:
        return pd.DataFrame({"place": [], "patient": [], "value": []})
    order = dict.fromkeys(table.loc[table["baseline"].isna(), "case_id"])
    places = {case_id: place for place, case_id in enumerate(order, 1)}
    mine = table["baseline"].isna() if baseline is None else table["baseline"] == baseline
    rows = table[mine & (table["metric"] == metric) & (table["target"] == target)]
    return rows.assign(place=rows["case_id"].map(places))[["place", "patient", "value"]].dropna(subset="place")
