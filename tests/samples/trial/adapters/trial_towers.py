"""Two frozen towers, two parts that learn at their own rates, stages, a moving average and several tasks: what the
families to come need, as small as it can be. Calls of the towers are counted, and what is answered is looked at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from medvfm.core.item import Item
from medvfm.core.protocols import Method, Reuse
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import state

TASK, OTHER = "trial_brightness", "classification"
IMAGES = frozenset({"prepare.windows", "prepare.invalid"})
LOOP = IMAGES | {f"train.{k}" for k in ("epochs", "batch_size", "learning_rate", "augment", "rates", "ema", "patience")}
STAGED = LOOP | {"adapter.stages.data"}
METHODS = {
    "both": Method("image and text tower frozen", "weights", {TASK: LOOP}, frozen=frozenset({"image", "text"})),
    "open": Method("every weight", "weights", {TASK: STAGED}),
    "unlabelled": Method("the tower learns pixels", "weights", {TASK: STAGED}, needs_truth=False),
    "probe": Method("a line on features", "features", {TASK: IMAGES}),
}
DEFAULT_METHOD = "both"
ANSWERS_ALSO = frozenset({OTHER})
STAGE_OPTIONS = frozenset({"offset"})
BASELINES = {"untrained": "the model at its start", "first_stage": "the model after its first stage",
             "shuffled": "the model with the image of another case", "real_noise": "a reference"}  # fmt: skip
CALLS: dict[str, int] = {}  # of each tower
SEEN: list[Item] = []  # whatever was answered
WEIGHTS = {"image": "a" * 64, "text": "b" * 64}  # hashes of the towers


@dataclass(frozen=True)
class MaybeImages:
    """The preparer of volumes, for cases that may have no image."""

    prepare: object
    windows: object = field(default_factory=dict)
    read: object = field(default_factory=dict)

    @property
    def volumes(self):
        return VolumePreparer(self.prepare, self.windows, self.read)

    def key(self):
        return f"maybe-{self.volumes.key()}"  # other arrays than the volumes' own have a key of their own

    def files(self, case):
        return self.volumes.files(case)

    def images(self, case):
        return self.volumes.images(case)

    def arrays(self, images, case):
        if not images:
            return {"pixels": np.zeros((1, 1, 2, 2), np.float16)}
        return {"pixels": self.volumes.arrays(images, case)["pixels"]}

    def grid(self, arrays):
        return None


class Towers:
    oracle, probabilities, answers_at_once = None, False, 4

    def __init__(self, preparer, method, task, rate):
        self.preparer, self.method, self.task, self.stages = preparer, method, task, []
        self.offset = 0.0
        self.module = torch.nn.ModuleDict(
            {"tower": torch.nn.Linear(1, 1), "projector": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)}
        )
        with torch.no_grad():
            for number, weight in enumerate(self.module.parameters()):
                weight.copy_(torch.linspace(-0.5, 1, weight.numel()).reshape(weight.shape) + 0.1 * number)
        self._freeze()

    def _freeze(self):
        self.module.requires_grad_(True)
        self.module["tower"].requires_grad_(self.method in ("open", "unlabelled"))
        for part in ("projector", "head"):
            self.module[part].requires_grad_(self.method in ("open", "both"))

    # towers

    def embed_tower(self, tower, items):
        CALLS[tower] = CALLS.get(tower, 0) + len(items)
        if tower == "text":
            return {"length": torch.tensor([[len(i.case.text or "") / 20] for i in items])}
        means = torch.tensor([[float(i.pixels.mean())] for i in items])
        return {"mean": self.module["tower"](means)}

    def tower_key(self, tower):
        own = [p.tolist() for p in self.module["tower"].parameters()] if tower == "image" else ""
        return f"{tower}-{hashlib.sha256(f'{WEIGHTS[tower]} {own}'.encode()).hexdigest()}"

    def tower_text(self, tower, case):
        return (case.text or "") if tower == "text" else None

    # training

    def example(self, item, rng, augment):
        if item.towers:
            assert "pixels" not in item.arrays
            return item
        pixels, _ = augment(np.asarray(item.pixels, np.float32), None)
        return replace(item, arrays={"pixels": pixels})

    def collate(self, examples):
        if all(e.towers for e in examples):
            pairs = [(e.towers["image"]["mean"], e.towers["text"]["length"]) for e in examples]
            inputs = torch.tensor(np.stack([np.concatenate(pair) for pair in pairs]))
        else:
            own = [self.embed_tower(t, examples) for t in ("image", "text")]
            inputs = torch.cat([own[0]["mean"], own[1]["length"]], dim=1)
        truths = [float(e.case.answer or "nan") / 255 for e in examples]
        return {"inputs": inputs, "truth": torch.tensor(truths), "means": inputs[:, 0]}

    def _out(self, inputs):
        return self.module["head"](torch.tanh(self.module["projector"](inputs.float())))[:, 0] + self.offset

    def loss(self, batch):
        if self.method == "unlabelled":
            return (batch["means"] - 0.5).pow(2).mean()
        return (self._out(batch["inputs"]) - batch["truth"]).pow(2).mean()

    def answer(self, items, variant=None):
        SEEN.extend(items)
        values = self._out(self.collate(items)["inputs"])
        if self.task == OTHER:
            return torch.sigmoid(values)[:, None].double().numpy()
        return [f"{float(v) * 255:.4f}" for v in values]

    def answering(self, task):
        other = Towers.__new__(Towers)
        other.__dict__ |= self.__dict__ | {"task": task.name}
        return other

    def parameter_groups(self):
        return {part: self.module[part].parameters() for part in ("projector", "head")}

    # features

    def embed(self, batch):
        return batch["inputs"]

    def features_key(self):
        return f"trial-{self.module['tower'].weight.item():.8f}"

    def fit_features(self, train, val, choose, seed):
        truth = np.array([float(case.answer) / 255 for case in train.cases])
        slope, intercept = np.polyfit(train.values[:, 0], truth, 1)
        self.line = float(slope), float(intercept)
        self._out = lambda inputs: inputs[:, 0] * self.line[0] + self.line[1]
        return {"slope": float(slope), "tower": self.module["tower"].weight.item()}

    def answer_features(self, features):
        return [f"{(v * self.line[0] + self.line[1]) * 255:.4f}" for v in features.values[:, 0]]

    def variants(self):
        return []

    def start_stage(self, method, options):
        self.method = method
        self.stages.append((method, dict(options)))
        self.offset = float(options.get("offset", 0.0))
        self._freeze()

    def save(self, folder):
        state.write(folder / "model.safetensors", dict(self.module.state_dict()))

    def load(self, folder):
        self.module.load_state_dict(state.read(folder / "model.safetensors"))

    def record(self):
        towers = [
            {"role": r, "weights": f"org/{r}", "sha256": s, "licence": None, "trained": False}
            for r, s in WEIGHTS.items()
        ]
        stages = [[name, options] for name, options in self.stages]
        return {"weights": "org/image", "towers": towers, "started": stages, "parameters": state.count(self.module)}


def refuse(settings, methods, prepare, task):
    """Nothing."""


def build(settings, task, method, prepare, *, windows, read, train, seed):
    return Towers(MaybeImages(prepare, windows, read), method, task.name, train.learning_rate)


def training(method, weights, given, task):
    return {"epochs": 3, "batch_size": 4, "learning_rate": 0.02, **given.given()}


def _other_image(item, rng):
    return replace(item, arrays={"pixels": np.full((1, 1, 2, 2), rng.random(), np.float32)}, towers={})


def baseline(settings, task, context):
    """The fitted model, asked again."""
    known = {"untrained": Reuse(at="start"), "first_stage": Reuse(at="stage 1"),
             "shuffled": Reuse(change=_other_image, draws=3), "real_noise": Reuse(change=_other_image)}  # fmt: skip
    return known.get(settings.name)


def load(weights, prepare):
    raise AssertionError("no test asks for features without a task")
