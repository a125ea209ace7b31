"""Answers about how bright a picture is: a trial of what question answering needs of an adapter, without a model."""

from __future__ import annotations

import torch

from medvfm.core.protocols import Method
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import state

IMAGES = frozenset({"prepare.windows", "prepare.invalid"})
METHODS = {
    "looking": Method("the mean of the pixels in words", "nothing", {"question_answering": IMAGES}),
    "guessing": Method("the same words for every image", "nothing", {"question_answering": IMAGES}),
}
DEFAULT_METHOD = "looking"
SEEN = []  # whatever was answered


class Answering:
    oracle, probabilities, answers_at_once = None, False, 3

    def __init__(self, preparer, method):
        self.preparer, self.method, self.module = preparer, method, torch.nn.Linear(1, 1)

    def answer(self, items, variant=None):
        SEEN.extend(items)
        return [self._of(item) for item in items]

    def _of(self, item):
        level = 255 * float(item.pixels.mean()) if self.method == "looking" else 255.0
        question = item.case.question or ""
        if question.startswith("Is it"):
            return {"text": "Yes." if level > 127 else "No, it is not.", "confidence": 0.5 + abs(level - 127) / 256}
        if ":" in question:
            return "dark" if level < 90 else "grey" if level < 170 else "It is bright"
        return f"There is no pneumothorax and the level is {level:.0f}"

    def variants(self):
        return []

    def start_stage(self, method, options):
        raise AssertionError("a trial without stages")

    def save(self, folder):
        state.write(folder / "model.safetensors", dict(self.module.state_dict()))

    def load(self, folder):
        """Nothing of it is trained."""

    def record(self):
        return {"weights": "none", "sha256": None, "parameters": state.count(self.module)}


def refuse(settings, methods, prepare, task):
    """Nothing."""


def build(settings, task, method, prepare, *, windows, read, train, seed):
    return Answering(VolumePreparer(prepare, windows, read), method)


def load(weights, prepare):
    raise AssertionError("no test asks for answers without a task")
