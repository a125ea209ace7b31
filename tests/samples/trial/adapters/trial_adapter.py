"""A line through the mean of an image's pixels: a trial of what it takes to add an adapter."""

from __future__ import annotations

import torch

from medvfm.core.protocols import Method
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import state

IMAGES = frozenset({"prepare.windows", "prepare.invalid"})
LOOP = IMAGES | {"train.epochs", "train.batch_size", "train.learning_rate"}
METHODS = {
    "as_it_is": Method("the mean of the pixels", "nothing", {"trial_brightness": IMAGES}),
    "fitted": Method("a line through the means, by the training loop", "weights", {"trial_brightness": LOOP}),
}
DEFAULT_METHOD = "fitted"


class TrialAdapter:
    oracle, probabilities, answers_at_once = None, False, 4

    def __init__(self, preparer):
        self.preparer, self.module = preparer, torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.module.weight, 200)
        torch.nn.init.zeros_(self.module.bias)

    def example(self, item, rng, augment):
        return float(item.pixels.mean()), item.case.answer

    def collate(self, examples):
        means, truths = zip(*examples, strict=True)
        return {"means": torch.tensor(means)[:, None], "truth": torch.tensor([float(t or "nan") for t in truths])}

    def loss(self, batch):
        return (self.module(batch["means"])[:, 0] - batch["truth"]).abs().mean()

    def answer(self, items, variant=None):
        means = self.collate([self.example(item, None, None) for item in items])["means"]
        return [f"{float(given):.2f}" for given in self.module(means)]

    def variants(self):
        return []

    def start_stage(self, method, options):
        """Both methods have the same weights."""

    def save(self, folder):
        state.write(folder / "model.safetensors", state.trained(self.module))

    def load(self, folder):
        state.put_trained(self.module, state.read(folder / "model.safetensors"))

    def record(self):
        return {"weights": "none", "sha256": None, "parameters": state.count(self.module)}


def refuse(settings, methods, prepare, task):
    """Nothing."""


def build(settings, task, method, prepare, *, windows, read, train, seed):
    return TrialAdapter(VolumePreparer(prepare, windows, read))


def training(method, weights, given, task):
    return {"epochs": 3, "batch_size": 4, "learning_rate": 1.0, **given.given()}


def load(weights, prepare):
    return TrialAdapter(VolumePreparer(prepare))
