"""How bright an image is, from 0 to 255: a trial of what it takes to add a task."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import Metric
from medvfm.core.options import checked
from medvfm.tasks.per_case_task import PerCaseTask


def absolute_error(truth, answer):
    """Grey levels between truth and answer."""
    if not answer:
        raise Undefined("no answer was given")
    return abs(float(truth) - float(answer))


def within(truth, answer, k):
    """1 where the answer is at most k grey levels off."""
    return float(absolute_error(truth, answer) <= k)


METRICS = {
    "absolute_error": Metric(absolute_error, "texts", "lower", unit="grey levels", summary="distance to the truth"),
    "within": Metric(within, "texts", "higher", parameter="k", whole=True, summary="answers at most k levels off"),
}
TABLES = {"": METRICS}  # for `medvfm list metrics`
USES = frozenset()


class Options(BaseModel):
    """What `task.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    unanswered: str = ""


class BrightnessTask(PerCaseTask):
    name, kind, metrics, default_metrics = "trial_brightness", "number", METRICS, ("absolute_error",)

    def __init__(self, options=None):
        self.options = options or Options()

    def truth_of(self, case):
        return case.answer


def build(settings, where, card):
    return BrightnessTask(checked(Options, settings.options, "trial_brightness", "task.options"))


def from_record(record):
    return BrightnessTask()


def read(truth, predictions, metrics, options):
    return BrightnessTask().read(truth, predictions, metrics, options)
