"""The questions of a run or an evaluation with their answers, and what every protocol gives each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medvfm.io.run_directory import PREDICTIONS
from medvfm.report import text
from medvfm.report.run_view import View

LETTERS = 400  # of a text that is shown
RIGHT, WRONG = "right", "wrong"
ZERO_OR_ONE = ("closed_accuracy", "exact_match", "llava_med_closed")  # told as right or wrong
_COLUMNS = {"case_id", "split", "baseline", "truth", "answer", "question", "question_type", "form"}


@dataclass(frozen=True)
class AnsweredQuestion:
    """A row of predictions.parquet with its rows of measures.parquet. place: among the cases of the split."""

    place: int
    question: str
    question_type: str
    closed: bool
    truth: str
    answer: str
    marks: Mapping[str, float]

    def shown(self) -> dict[str, object]:
        """What templates take."""
        return {
            "question": shortened(self.question),
            "type": self.question_type,
            "truth": shortened(self.truth),
            "answer": shortened(self.answer) or "(no words)",
            "marks": [
                {
                    "name": text.metric(name),
                    "value": said(name, value),
                    "good": value >= 0.5 if name != "unparsed" else value < 0.5,
                }
                for name, value in self.marks.items()
                if name != "unparsed" or value > 0.5
            ],
        }


def of_view(view: View) -> list[AnsweredQuestion]:
    """Those of the model, in the order of the cases."""
    path = view.directory / PREDICTIONS
    if not path.is_file() or view.measures is None:
        return []
    table = pd.read_parquet(path)
    if not set(table.columns) >= _COLUMNS:
        return []
    if "task" in table:
        table = table[table["task"] == view.task.get("name")]
    table = table[(table["split"] == view.split) & table["baseline"].isna()]
    measures = view.measures
    measures = measures[(measures["split"] == view.split) & measures["baseline"].isna()]
    metrics = [r["metric"] for r in view.rows()]
    keys = ["case_id", "fold"]
    wide = measures[measures["metric"].isin(metrics)].pivot(index=keys, columns="metric", values="value")
    found = []
    aligned = wide.reindex(pd.MultiIndex.from_frame(table[keys])).to_dict("records")
    for place, (row, values) in enumerate(zip(table.to_dict("records"), aligned, strict=True)):
        marks = {m: float(values[m]) for m in metrics if m in values and pd.notna(values[m])}
        words = {c: str(row[c] or "") for c in ("question", "question_type", "truth", "answer")}
        found.append(AnsweredQuestion(place, closed=row["form"] == "closed", marks=marks, **words))
    return found


def shortened(words: str) -> str:
    """At most LETTERS, on one line."""
    line = " ".join(words.split())
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 1].rstrip()}…"


def said(metric: str, value: float) -> str:
    """`right` and `wrong` of protocols that know no more; else the number."""
    if metric == "unparsed":
        return "not read"
    if metric in ZERO_OR_ONE:
        return RIGHT if value > 0.5 else WRONG
    return text.number(value, 2)
