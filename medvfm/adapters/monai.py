"""Networks of MONAI in 2D and 3D, from scratch or from a bundle: the baseline that every reviewer asks for.

Patches are sampled from volumes, two of three around a structure, and a sliding window puts a volume together again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from medvfm.adapters import _monai_words
from medvfm.core.errors import RecipeError, WeightsError
from medvfm.core.item import Item
from medvfm.core.options import checked
from medvfm.core.plurals import plural
from medvfm.core.protocols import Augment, Batch, Method, Record, Task
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.io import run_directory
from medvfm.models import monai_networks
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import dense_losses, state
from medvfm.nn.expected_overlap import ExpectedDice

_VOLUMES = frozenset({"prepare.windows", "prepare.invalid", "prepare.spacing", "prepare.slices.axis"})
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {
    "train.class_weights",
    "train.balanced_sampling",
    "train.rates",
}
METHODS = {
    "full": Method(
        "every weight of the network, from scratch or from a bundle",
        "weights",
        {"segmentation": _VOLUMES | _LOOP | {"adapter.stages.data"}},
    ),
    "zero_shot": Method("a bundle as it is", "nothing", {"segmentation": _VOLUMES}),
}
DEFAULT_METHOD = "full"
DEFAULT_WEIGHTS = "scratch"
NETWORK = "network.json"  # beside the weights: what the options left open, as it was chosen
SAMPLE = 200_000  # voxels of a case that its mean and deviation are taken from
TRAINING = {"epochs": 8, "batch_size": 2, "steps": 60, "learning_rate": 2e-3, "weight_decay": 1e-5}


class Options(BaseModel):
    """What `adapter.options` may say.

    network  which of MONAI's; a bundle brings its own
    dims     3 for volumes, 2 for slices and pictures; null: 2 where the first case has one slice, else 3
    patch    voxels (slices, rows, columns), or (rows, columns); multiples of 16, for swin_unetr of 32 from 64 on;
             null: 128 pixels or 48 voxels (64 for swin_unetr) a side, less where the first case is smaller
    width    channels of the first level
    overlap  of neighbouring windows when a volume is put together
    roles    which images of a case are the channels, in order; null takes all
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: Literal["unet", "segresnet", "swin_unetr", "dynunet"] = "unet"
    dims: Literal[2, 3] | None = None
    patch: tuple[int, ...] | None = None
    width: int = Field(16, ge=4)
    overlap: float = Field(0.5, ge=0, lt=1)
    channels: int | None = Field(None, ge=1, description="of the images; null: those of the first case")
    roles: tuple[str, ...] | None = None


class MonaiAdapter:
    """See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = False
    answers_at_once = 1

    def __init__(
        self,
        network: nn.Module,
        question: Task,
        method: str,
        prepare: Prepare,
        options: Options,
        source: Mapping[str, Any],
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        loss: str,
        remade: Callable[[Options], tuple[nn.Module, Mapping[str, Any]]] | None = None,
    ) -> None:
        """remade: another network, of options that the first case settles; None where the network is given."""
        self._remade, self._asked = remade, options
        options = options.model_copy(update={"dims": options.dims or 3, "channels": options.channels or 1})
        self.question, self.module, self._options, self._loss = question, network, options, loss
        self._source, self.method = source, method
        self._statistics: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.patch = _patch(options)
        self.preparer = VolumePreparer(prepare, windows, read, options.roles)

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Another stage trains the same weights on."""
        self.method = method

    def settle(self, item: Item) -> str:
        """Choose from the first case what the options leave open; in words, what was chosen."""
        asked, (channels, *shape) = self._asked, item.pixels.shape
        if self._remade is None or None not in (asked.dims, asked.channels, asked.patch):
            return ""
        dims = asked.dims or (2 if shape[0] == 1 else 3)
        chosen = asked.model_copy(update={"dims": dims, "channels": asked.channels or channels})
        patch = asked.patch or _fitting(_patch(chosen), shape[3 - dims :], chosen.network)
        self._become(chosen.model_copy(update={"patch": patch}))
        sides = " x ".join(map(str, patch))
        return f"{dims}D network, patches of {sides}, {plural(chosen.channels or 1, 'channel')}: as the first case is"

    def _become(self, options: Options) -> None:
        assert self._remade is not None
        self._options, self.patch = options, _patch(options)
        self.module, self._source = self._remade(options)

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> dict[str, torch.Tensor]:
        """A patch: pixels (C, *patch) standardised, labels (*patch) or (T, *patch), ignored beyond the border."""
        assert item.truth is not None
        if self._options.dims == 2:
            index = self._slice_with_something(item.truth, rng)
            pixels, labels = item.pixels[:, index], item.truth[..., index, :, :]
        else:
            pixels, labels = item.pixels, item.truth
        corner = self._corner(labels, rng)
        box: Any = (..., *(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True)))
        pixels, labels = augment(pixels[box].astype(np.float32), np.ascontiguousarray(labels[box]))
        return {
            "pixels": torch.from_numpy(_padded(self._standardised(pixels, item), self.patch, 0.0)),
            "labels": torch.from_numpy(_padded(labels.astype(np.int64), self.patch, dense_losses.IGNORED)),
        }

    def _standardised(self, pixels: np.ndarray, item: Item) -> np.ndarray:
        """(C, ...) float32 with mean 0 and deviation 1 over the whole case, so that padding is its mean."""
        if item.case_id not in self._statistics:
            step = max(1, round((item.pixels[0].size / SAMPLE) ** (1 / 3)))
            sample = np.asarray(item.pixels[:, ::step, ::step, ::step], np.float32).reshape(len(item.pixels), -1)
            self._statistics[item.case_id] = sample.mean(axis=1), np.maximum(sample.std(axis=1), 1e-3)
        mean, deviation = (s.reshape(-1, *[1] * (pixels.ndim - 1)) for s in self._statistics[item.case_id])
        return (pixels - mean) / deviation

    @staticmethod
    def _slice_with_something(truth: np.ndarray, rng: np.random.Generator) -> int:
        index = int(rng.integers(truth.shape[-3]))
        for _ in range(4 if rng.random() < 2 / 3 else 0):
            if truth[..., index, :, :].any():
                break
            index = int(rng.integers(truth.shape[-3]))
        return index

    def _corner(self, labels: np.ndarray, rng: np.random.Generator) -> list[int]:
        """First voxel of a patch; two of three have a voxel of a structure somewhere in them."""
        shape = labels.shape[-len(self.patch) :]
        room = [max(0, n - p) for n, p in zip(shape, self.patch, strict=True)]
        if not any(room):
            return [0] * len(room)
        held = None
        if rng.random() < 2 / 3:
            held = np.argwhere(labels.any(axis=0) if labels.ndim > len(self.patch) else labels)
        if held is None or not len(held):
            return [int(rng.integers(r + 1)) for r in room]
        voxel = held[rng.integers(len(held))]
        inside = [int(rng.integers(p)) for p in self.patch]
        return [int(min(max(v - i, 0), r)) for v, i, r in zip(voxel, inside, room, strict=True)]

    def collate(self, examples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {
            "pixels": torch.stack([self._with_channels(e["pixels"]) for e in examples]),
            "labels": torch.stack([e["labels"] for e in examples]),
        }

    def _with_channels(self, pixels: torch.Tensor) -> torch.Tensor:
        wanted = self._options.channels or 1
        if pixels.shape[0] == 1 and wanted > 1:
            return pixels.expand(wanted, *pixels.shape[1:])
        if pixels.shape[0] != wanted:
            raise RecipeError(
                f"the images give {pixels.shape[0]} channels, and the network takes {wanted}",
                where="adapter.options.channels",
                remedy="say how many channels there are, or name the roles",
            )
        return pixels

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.module(batch["pixels"].to(self._device))
        of_kind = dense_losses.overlapping if self.question.kind == "multi_label" else dense_losses.exclusive
        if isinstance(logits, list | tuple):  # deep supervision: the finest output comes first
            logits = logits[0]
        return of_kind(logits, batch["labels"].to(self._device), self._loss)

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[np.ndarray]:
        return [self._mask(item) for item in items]

    def answer_surely(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """See core.capabilities.SureAdapter."""
        sure = ExpectedDice(len(self.question.classes), self.question.kind == "semantic")
        return self._mask(item, sure), sure.value().numpy()

    @torch.inference_mode()
    def _mask(self, item: Item, sure: ExpectedDice | None = None) -> np.ndarray:
        """(i, j, k) on the grid of the image, or (i, j, k, T) of bool."""
        from monai.inferers.utils import sliding_window_inference

        self.module.eval()
        pixels = self._with_channels(torch.from_numpy(self._standardised(np.asarray(item.pixels, np.float32), item)))
        slices = [pixels] if self._options.dims == 3 else list(pixels.transpose(0, 1))
        found = [
            sliding_window_inference(
                part[None],
                self.patch,
                sw_batch_size=2 if self._options.dims == 3 else 8,
                predictor=self._finest,
                overlap=self._options.overlap,
                mode="gaussian",
                sw_device=self._device,
                device=torch.device("cpu"),
            )[0]
            for part in slices
        ]
        logits = found[0] if self._options.dims == 3 else torch.stack(found, dim=1)
        if sure is not None:
            sure.add(logits.transpose(0, 1))
        scores = logits.float().numpy()
        return item.grid.above(scores) if self.question.kind == "multi_label" else item.grid.labels_from(scores)

    def _finest(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.module(pixels)
        return logits[0] if isinstance(logits, list | tuple) else logits

    def variants(self) -> list[str]:
        return []

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        run_directory.write_json(folder / NETWORK, self._options.model_dump(mode="json"))
        state.write(folder / "model.safetensors", state.trained(self.module))

    def load(self, folder: Path) -> None:
        if self._remade is not None and (folder / NETWORK).is_file():
            self._become(Options.model_validate_json((folder / NETWORK).read_text(encoding="utf-8")))
        state.put_trained(self.module, state.read(folder / "model.safetensors"))

    def record(self) -> Record:
        found = {
            "weights": self._source["source"],
            **self._source,
            "network": self._options.model_dump(mode="json") | {"patch": list(self.patch)},
            "parameters": state.count(self.module),
        }
        return found | {"said": _monai_words.said(found | {"method": self.method})}


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: float) -> np.ndarray:
    """The last axes filled up to `shape` on both sides, as MONAI's sliding window fills up a small volume."""
    missing = [(0, 0)] * (array.ndim - len(shape))
    for have, want in zip(array.shape[-len(shape) :], shape, strict=True):
        missing.append(((want - have) // 2, want - have - (want - have) // 2))
    return np.pad(array, missing, constant_values=fill)


def _options(settings: AdapterSettings) -> Options:
    found = checked(Options, settings.options, "monai")
    step, least = (32, 64) if found.network == "swin_unetr" else (16, 16)
    if found.dims is None and found.patch is not None and len(found.patch) in (2, 3):
        found = found.model_copy(update={"dims": len(found.patch)})
    patch = _patch(found)
    if len(patch) != (found.dims or 3) or any(p % step or p < least for p in patch):
        raise RecipeError(
            f"patch {list(patch)}: {found.dims or '2 or 3'} sides, each a multiple of {step} from {least} on",
            where="adapter.options.patch",
        )
    return found


def _patch(options: Options) -> tuple[int, ...]:
    if options.patch is not None:
        return options.patch
    if options.dims == 2:
        return (128, 128)
    return (64, 64, 64) if options.network == "swin_unetr" else (48, 48, 48)


def _fitting(patch: tuple[int, ...], shape: Sequence[int], network: str) -> tuple[int, ...]:
    """No larger than the case needs, in multiples that the network takes; one side stays at 32 or more, so that the
    lowest level keeps more than one voxel."""
    step, least = (32, 64) if network == "swin_unetr" else (16, 16)
    sides = [min(p, max(least, -(-n // step) * step)) for p, n in zip(patch, shape, strict=True)]
    if max(sides) < 32:
        sides[-1] = 32
    return tuple(sides)


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    options = _options(settings)
    scratch = (settings.weights or DEFAULT_WEIGHTS) in ("scratch", "tiny")
    if scratch and "zero_shot" in methods:
        raise RecipeError("zero_shot takes a bundle as it is", where="adapter.weights", remedy="give a bundle's folder")
    if task.kind == "instances":
        raise RecipeError(
            "a network of MONAI does not tell objects apart", where="task.kind", remedy="adapter sam does"
        )
    if options.roles is not None and options.channels not in (None, 1, len(options.roles)):
        raise RecipeError(
            f"{len(options.roles)} roles and {options.channels} channels", where="adapter.options.channels"
        )


def build(
    settings: AdapterSettings,
    task: Task,
    method: str,
    prepare: Prepare,
    *,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    train: Train,
    seed: int,
) -> MonaiAdapter:
    """Make or load the network; the device is chosen later, by moving `module`."""
    options, weights = _options(settings), settings.weights or DEFAULT_WEIGHTS
    if options.roles is not None:
        options = options.model_copy(update={"channels": len(options.roles)})
    outputs = len(task.classes) + (task.kind == "semantic")

    def scratch(chosen: Options) -> tuple[nn.Module, Mapping[str, Any]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = monai_networks.from_scratch(
                chosen.network, chosen.dims or 3, chosen.channels or 1, outputs, chosen.width
            )
        digest = hashlib.sha256(json.dumps([chosen.model_dump(mode="json"), outputs, seed]).encode()).hexdigest()
        return made, {"source": "scratch", "sha256": digest, "licence": None}

    from_scratch = weights in ("scratch", "tiny")
    if from_scratch:
        network, source = scratch(options)
    else:
        network, source = monai_networks.from_bundle(weights)
        given = monai_networks.outputs_of(network, options.dims or 3, options.channels or 1)
        if given != outputs:
            raise WeightsError(f"the bundle gives {given} outputs, and the question needs {outputs}", where=weights)
    loss = train.loss or "dice_ce"
    return MonaiAdapter(
        network, task, method, prepare, options, source, windows=windows, read=read, loss=loss,
        remade=scratch if from_scratch else None,
    )  # fmt: skip


def training(method: str, weights: str | None, given: Train, task: str = "segmentation") -> Record:
    """The settings of the training loop: the recipe's, over the method's own."""
    return {**TRAINING, **{k: v for k, v in given.given().items() if k != "loss"}}


def load(weights: str | None, prepare: Prepare) -> MonaiAdapter:
    """A network answers nothing without a task."""
    raise RecipeError("monai gives no features of images", where="load_adapter", remedy="use dinov2, or a recipe")
