"""A 3D encoder (CT-FM) adapted to classification of whole volumes: a head on one vector of each case.

Where `dinov2` reads a volume as a stack of pictures, this encoder sees its three dimensions, in tiles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from medvfm.core.capabilities import Choose, Embedded
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.options import checked
from medvfm.core.protocols import Augment, Batch, Method, Record, Task
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.models.encoders.volumes import VolumeEncoder, load_volume_encoder
from medvfm.models.inputs.given_images import in_parts
from medvfm.models.inputs.whole_volumes import WholeVolumePreparer
from medvfm.nn import knn, losses, probe, state

_USES = frozenset({"prepare.windows", "prepare.spacing", "prepare.invalid"})
METHODS = {
    "knn": Method("nearest neighbours among frozen features", "features", {"classification": _USES}),
    "linear_probe": Method(
        "logistic regression on frozen features", "features", {"classification": _USES | {"train.class_weights"}}
    ),
}
DEFAULT_METHOD = "linear_probe"
HEAD_SWEEPS = {"knn": knn.SWEPT, "linear_probe": probe.SWEPT}
DEFAULT_WEIGHTS = "project-lighter/ct_fm_feature_extractor"
SUBJECTS = {
    "linear_probe": "A linear probe on frozen features of {model}",
    "knn": "Nearest neighbours among frozen features of {model}",
}
LABELS = {"linear_probe": "linear probe on {model}", "knn": "nearest neighbours on {model}"}
FROM_SCRATCH = "a small 3D encoder with random weights"


class Options(BaseModel):
    """This adapter has no options of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VolumeClassifier(nn.Module):
    """Encoder and head."""

    def __init__(self, encoder: VolumeEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


class VolumeEncoderAdapter:
    """A 3D encoder adapted to one question. See core.protocols.Adapter and core.capabilities.FeatureAdapter."""

    oracle: str | None = None
    probabilities = True
    answers_at_once = 1

    def __init__(
        self,
        encoder: VolumeEncoder,
        question: Task | None,
        method: str,
        prepare: Prepare,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        class_weights: bool = False,
    ) -> None:
        self._task, self.method, self.class_weights = question, method, class_weights
        self.preparer = WholeVolumePreparer(encoder.contract, prepare, windows, read)
        outputs = losses.outputs(question.kind, len(question.classes)) if question is not None else 1
        self.module = VolumeClassifier(encoder.requires_grad_(False), nn.Linear(encoder.width, outputs))

    @property
    def question(self) -> Task:
        """The task; an adapter without one (`load`) only encodes."""
        assert self._task is not None
        return self._task

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        self.method = method

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Item:
        return item

    def collate(self, examples: Sequence[Item]) -> dict[str, Any]:
        """volumes: one (S, H, W) a case, of sizes of their own; cases."""
        return {
            "volumes": [torch.from_numpy(np.asarray(item.pixels[:, 0])) for item in examples],
            "cases": [item.case for item in examples],
        }

    def loss(self, batch: Batch) -> torch.Tensor:
        raise AssertionError("a head on features is not trained by the loop")

    @torch.inference_mode()
    def embed(self, batch: Batch) -> torch.Tensor:
        """(B, D)."""
        self.module.eval()
        device = next(self.module.encoder.parameters()).device
        return torch.stack([self.module.encoder(volume.to(device)) for volume in batch["volumes"]])

    def features_key(self) -> str:
        encoder = self.module.encoder
        parts = [encoder.weights_record["sha256"], encoder.contract.as_record(), self.preparer.key()]
        return f"{encoder.name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]}"

    def encode(self, images: Any, *, progress: bool | None = None) -> np.ndarray:
        """(n, D) features of volumes: paths (files or DICOM folders) or images of `medvfm.read_image`.

        progress  whether to show how far it is; None: on a terminal
        """
        volumes = (
            torch.from_numpy(self.preparer.of_image(image)[:, 0])
            for part in in_parts(images, 1, progress)
            for image in part
        )
        return np.concatenate([self.embed({"volumes": [volume]}).cpu().numpy() for volume in volumes])

    def __repr__(self) -> str:
        encoder = self.module.encoder
        return f"{type(self).__name__}({encoder.name}, {self.method}, features of {encoder.width})"

    def fit_features(self, train: Embedded, val: Embedded, choose: Choose | None, seed: int) -> Record:
        fitted_on, chosen_on = (
            (torch.as_tensor(part.values).float(), torch.as_tensor(self.question.labels(part.cases)))
            for part in (train, val)
        )
        if self.method == "knn":
            self.module.head, record = knn.sweep(fitted_on, chosen_on, choose, kind=self.question.kind)
        else:
            weights = "balanced" if self.class_weights else None
            self.module.head, record = probe.sweep(
                fitted_on, chosen_on, choose, kind=self.question.kind, class_weight=weights
            )
        return record

    @torch.inference_mode()
    def answer_features(self, features: Embedded) -> np.ndarray:
        self.module.eval()
        device = next(self.module.encoder.parameters()).device
        outputs = self.module.head(torch.as_tensor(features.values).float().to(device))
        if self.method == "linear_probe":
            outputs = probe.probabilities(outputs, self.question.kind)
        scores: np.ndarray = outputs.double().cpu().numpy()
        return scores

    def answer(self, items: Sequence[Item], variant: str | None = None) -> np.ndarray:
        """(B, T) scores."""
        batch = self.collate(items)
        return self.answer_features(Embedded(self.embed(batch).cpu().numpy(), batch["cases"]))

    def variants(self) -> list[str]:
        return []

    def save(self, folder: Path) -> None:
        """`model.safetensors` holds the head."""
        head = {f"head.{n}": w.detach().cpu() for n, w in self.module.head.state_dict().items()}
        state.write(folder / "model.safetensors", head)

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        own = state.read(folder / "model.safetensors")
        head = knn.Neighbours if self.method == "knn" else probe.Probe
        self.module.head = head.from_state({n.removeprefix("head."): w for n, w in own.items()})

    def record(self) -> Record:
        encoder = self.module.encoder
        found = {
            "weights": encoder.name,
            **encoder.weights_record,
            "contract": encoder.contract.as_record(),
            "spacing_mm": list(self.preparer.prepare.spacing or encoder.contract.spacing_mm),
            "parameters": state.count(self.module),
        }
        return found | {"said": said(found | {"method": self.method})}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a report calls it, from its record and `method`."""
    weights, method = str(record["weights"]), str(record["method"])
    model = FROM_SCRATCH if weights == "tiny" else weights
    contract = record["contract"]
    spacing, tile = (" × ".join(f"{n:g}" for n in values) for values in (record["spacing_mm"], contract["tile_vox"]))
    return {
        "title": model,
        "label": LABELS[method].replace("{model}", model),
        "subject": SUBJECTS[method].replace("{model}", model),
        "input": [],
        "prompts": [],
        "volumes": [
            f"Volumes were brought to the orientation {contract['orientation']} and to {spacing} mm, and encoded in "
            f"three dimensions, in tiles of {tile} voxels whose features were averaged."
        ],
    }


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    checked(Options, settings.options, "volume_encoder")
    if isinstance(prepare.windows, tuple) and len(prepare.windows) == 3:
        raise RecipeError("three windows are colours of pictures, and these volumes are gray", where="prepare.windows")
    if prepare.spacing is not None and len(prepare.spacing) != 3:
        raise RecipeError(
            "three distances: between slices, rows and columns", where="prepare.spacing", remedy="such as [3, 1, 1]"
        )


def build(
    settings: AdapterSettings,
    task: Task | None,
    method: str,
    prepare: Prepare,
    *,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    train: Train,
    seed: int,
) -> VolumeEncoderAdapter:
    """Load the weights and make the adapter; the device is chosen later, by moving `module`."""
    encoder = load_volume_encoder(settings.weights or DEFAULT_WEIGHTS, seed=seed)
    balanced = train.class_weights == "balanced"
    return VolumeEncoderAdapter(encoder, task, method, prepare, windows=windows, read=read, class_weights=balanced)


def training(method: str, weights: str | None, given: Train, task: str = "classification") -> Record:
    """Nothing: no method here is trained by the loop."""
    return given.given()


def load(weights: str | None, prepare: Prepare) -> VolumeEncoderAdapter:
    """The encoder without a task, for `encode`."""
    settings = AdapterSettings(name="volume_encoder", weights=weights)
    return build(settings, None, DEFAULT_METHOD, prepare, windows={}, read={}, train=Train(), seed=0)
