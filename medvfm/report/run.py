"""A run directory as the report sees it: the record, its rows, the predictions."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm.io.run_directory import read_record


class Run:
    """Reads what is there; every part may be missing."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.record = directory, read_record(directory)

    def part(self, *keys: str) -> Any:
        """A part of the record, or None."""
        at: Any = self.record
        for key in keys:
            if not isinstance(at, Mapping) or at.get(key) is None:
                return None
            at = at[key]
        return at

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.record.get("metrics", []))

    def select(self, metric: str | None = None, **where: Any) -> list[dict[str, Any]]:
        """Rows of a metric whose split, group, baseline, target are as given (None: the model, everyone)."""
        where = {"split": "test", "group": None, "baseline": None, **where}
        return [
            r
            for r in self.rows
            if (metric is None or r["metric"] == metric) and all(v is ... or r.get(k) == v for k, v in where.items())
        ]

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        path = self.directory / "predictions.parquet"
        return pd.read_parquet(path) if path.is_file() else None

    @cached_property
    def baselines(self) -> pd.DataFrame | None:
        path = self.directory / "baselines.parquet"
        return pd.read_parquet(path) if path.is_file() else None

    @property
    def targets(self) -> list[str]:
        return list(self.part("task", "classes") or [])

    @property
    def level(self) -> str:
        """`95%`."""
        return f"{100 * (self.rows[0]['level'] if self.rows else 0.95):g}%"

    def picture(self, file: str) -> str | None:
        """A file of the run as a data URI; only PNGs inside the directory."""
        path = (self.directory / file).resolve()
        if path.suffix != ".png" or not path.is_relative_to(self.directory.resolve()) or not path.is_file():
            return None
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def number(value: Any, digits: int = 3) -> str:
    """A number as a report writes it; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.3g}"


def interval(row: Mapping[str, Any]) -> str:
    """`0.76 to 0.91`, or nothing."""
    return "" if row.get("low") is None else f"{number(row['low'])} to {number(row['high'])}"


def metric_name(metric: str) -> str:
    """What a reader calls it."""
    base, _, at = metric.partition("@")
    known = {"auroc": "AUROC", "auprc": "Average precision", "brier": "Brier score", "ece": "Calibration error (ECE)"}
    known |= {"f1": "F1", "ppv": "PPV", "npv": "NPV", "mcc": "MCC", "macro_auroc": "AUROC, macro"}
    known |= {
        "roc_sensitivity": "Sensitivity read from the test curve",
        "roc_specificity": "Specificity read from the test curve",
    }
    name = known.get(base, base.replace("_", " ").capitalize())
    parameter, _, value = at.partition("=")
    return f"{name} at {parameter} {value}" if at else name
