"""Vectors of pictures and texts in one space, by their brightness and the number in the text: a trial of what retrieval
takes of an adapter."""

from __future__ import annotations

import re

import numpy as np
import torch

from medvfm.core.protocols import Method
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import state

IMAGES = frozenset({"prepare.windows", "prepare.invalid"})
METHODS = {
    "pairs": Method("vectors of both", "nothing", {"retrieval": IMAGES}),
    "images": Method("vectors of images alone", "nothing", {"retrieval": IMAGES}),
}
DEFAULT_METHOD = "pairs"


def on_circle(share):
    """A unit vector whose angle says a share from 0 to 1."""
    return np.array([np.cos(share), np.sin(share)])


class TrialPairs:
    oracle, probabilities, answers_at_once = None, False, 4

    def __init__(self, preparer, with_text=True):
        self.preparer, self.with_text, self.module = preparer, with_text, torch.nn.Linear(1, 1)
        torch.nn.init.ones_(self.module.weight)
        torch.nn.init.zeros_(self.module.bias)

    def answer(self, items, variant=None):
        return [{"image": on_circle(float(i.pixels.mean())), "text": self._text(i.case.text)} for i in items]

    def _text(self, text):
        found = re.search(r"level (\d+)", text or "")
        return on_circle(int(found[1]) / 255 if found else 0.0) if self.with_text else None

    def variants(self):
        return []

    def save(self, folder):
        state.write(folder / "model.safetensors", {k: v.contiguous() for k, v in self.module.state_dict().items()})

    def load(self, folder):
        self.module.load_state_dict(state.read(folder / "model.safetensors"))

    def record(self):
        return {"weights": "none", "sha256": None, "parameters": state.count(self.module)}


def refuse(settings, methods, prepare, task):
    """Nothing."""


def build(settings, task, method, prepare, *, windows, read, train, seed):
    return TrialPairs(VolumePreparer(prepare, windows, read), method == "pairs")


def load(weights, prepare):
    return TrialPairs(VolumePreparer(prepare))
