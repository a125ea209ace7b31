"""Question answering: questions about images answered in words, and reports written of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.core.options import checked
from medvfm.core.protocols import (
    Adapter,
    Answer,
    BaselineContext,
    Outside,
    Points,
    Record,
    Reuse,
    Seen,
    TrueCases,
    Where,
)
from medvfm.core.recipe_sections import Baseline, TaskSettings
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.prediction_tables import Table
from medvfm.metrics import answers as protocols
from medvfm.statistics.estimand import Estimand
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.per_case_task import PerCaseTask
from medvfm.tasks.question_answering import answer_tables, answer_values, baselines, question_pictures
from medvfm.tasks.question_answering.question_form import QuestionForm, form_of
from medvfm.tasks.question_answering.words import PROTOCOLS, WORDS

USES: frozenset[str] = frozenset()
METRICS = protocols.METRICS
TABLES: dict[str, Mapping[str, Metric]] = {"": METRICS}  # for `medvfm list metrics`
BUILT_IN = baselines.BUILT_IN
PERMUTATIONS = 20
DEFAULT_METRICS = (
    "closed_accuracy", "exact_match", "unparsed", "open_recall", "token_f1", "bleu", "rouge_l", "llava_med_recall",
    "llava_med_closed",
)  # fmt: skip
REPORT_METRICS = ("finding_f1", "bleu", "rouge_l", "token_f1", "open_recall")


class QuestionOptions(BaseModel):
    """What `task.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    answer_kind: Literal["answer", "report"] = Field(
        "answer", description="report: every case is an image whose report is written; its truth is `answer`, or `text`"
    )
    closed: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="a question_type to what can be answered to its questions, such as [yes, no]"
    )
    by: tuple[str, ...] = Field(
        (), description="columns: numbers of the model and of every baseline for each of their values, such as organ"
    )
    permutations: int = Field(PERMUTATIONS, ge=1, description="of images, over which `shuffled` is the mean")


Options = QuestionOptions


@dataclass(frozen=True)
class QuestionAnsweringTask(PerCaseTask):
    """A case is one question about its images. See core.protocols.Task.

    An answer is a text, or {"text": ..., "confidence": ...} with the model's probability of it, from 0 to 1. What is
    closed, and what can be answered to it: question_form.form_of.
    """

    options: Options = field(default_factory=Options)
    name: str = "question_answering"
    built_in_baselines: ClassVar[Mapping[str, str]] = BUILT_IN
    words: ClassVar[Mapping[str, str]] = WORDS

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.options.answer_kind

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return METRICS

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return REPORT_METRICS if self._reports else DEFAULT_METRICS

    @property
    def _reports(self) -> bool:
        return self.options.answer_kind == "report"

    def truth_of(self, case: Case) -> str | None:
        """The answer; of a report the text of the case where it has no answer."""
        truth = case.text if self._reports and case.answer is None else case.answer
        return truth if truth and truth.strip() else None

    def has_truth(self, case: Case) -> bool:
        """A question without words is none, but a report needs no question."""
        return self.truth_of(case) is not None and (self._reports or bool((case.question or "").strip()))

    def hide(self, case: Case) -> Case:
        """The case without labels, masks, answer and text: a caption or report tells the answer."""
        return replace(super().hide(case), text=None)

    def form(self, case: Case) -> QuestionForm:
        """Whether the question is closed, and what can be answered. Reports are open."""
        if self._reports:
            return QuestionForm(False)
        return form_of(case.question, case.question_type, self.truth_of(case) or "", self.options.closed)

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> PerCaseValues:
        cases = [true.case(place) for place in range(len(true))]
        truths = [self.truth_of(case) or "" for case in cases]
        forms = [self.form(case) for case in cases]
        return answer_values.measured(cases, truths, forms, answers, specs, self.options.by)

    def views(self, predictions: PerCaseValues) -> dict[str, PerCaseValues]:
        """`question_type=presence` to those questions, and the values of the columns `by`."""
        return answer_values.views(predictions, self.options.by)

    def estimands(self, predictions: PerCaseValues, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        return answer_values.estimands(predictions, specs)

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        if settings.name == "majority":
            return lambda: baselines.MajorityAnswer(self.truth_of)
        if settings.name == "shuffled":
            return Reuse(exchange=baselines.exchanged_images(), draws=self.options.permutations)
        return None

    def ask(self, case: Case, question: str | None) -> Case:
        """See core.task_capabilities.QuestioningTask."""
        if question is not None and not any(letter.isalnum() for letter in question):
            raise RecipeError("an empty question", where="--question", remedy="say in words what to ask")
        found = case.question if question is None else question
        if not self._reports and not (found or "").strip():
            raise RecipeError(
                "this run answers questions, and none is asked",
                where="--question",
                remedy='say --question "...", or give a table with columns image and question',
            )
        return replace(case, question=found)

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        sure = answer.get(answer_values.CONFIDENCE) if isinstance(answer, Mapping) else None
        asked = {} if case.question is None else {"question": case.question}
        confidence = {} if sure is None else {answer_values.CONFIDENCE: float(sure)}
        return [{**asked, "answer": answer_values.text_of(answer), **confidence}]

    def pictures(self, predictions: PerCaseValues, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Images of the questions that the report shows."""
        return question_pictures.write(predictions, seen)

    def describe(self) -> Record:
        return super().describe() | {
            "unit": "image" if self._reports else "question",
            "options": self.options.model_dump(mode="json"),
            "protocols": {name: PROTOCOLS[name] for name in METRICS},
        }


def build(settings: TaskSettings, where: Where, card: DataCard) -> QuestionAnsweringTask:
    """Settle the question; columns are those of the card."""
    if settings.classes:
        raise RecipeError(
            "question_answering has no classes: answers are texts",
            where=where("classes"),
            remedy="what can be answered to a type of question stands in task.options.closed",
        )
    if settings.kind is not None:
        raise RecipeError(
            f"the kind of an answer stands in task.options.answer_kind; not {settings.kind!r}", where=where("kind")
        )
    if settings.unit != "image":
        raise RecipeError(f"questions are scored one by one, not by {settings.unit}", where=where("unit"))
    given = checked(Options, settings.options, "question_answering", where("options"))
    known = card.group_columns()
    for column in given.by:
        if column not in known:
            raise RecipeError(
                f"the card {card.name} has no column {column!r}; {nearest(column, known)}", where=where("options", "by")
            )
    for kind, options in given.closed.items():
        if len(set(map(protocols.plain, options))) < 2:
            raise RecipeError(
                f"{kind}: a closed question has at least two answers that can be given",
                where=where("options", "closed"),
            )
    return QuestionAnsweringTask(given)


def from_record(record: Record) -> QuestionAnsweringTask:
    """The task of a finished run, from what `describe` said."""
    return QuestionAnsweringTask(checked(Options, record.get("options") or {}, "question_answering", "run.json"))


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any program's answers beside the truth, matched by case_id: both tables have a column `answer`."""
    return answer_tables.read(QuestionAnsweringTask(), truth, predictions, metrics, options)
