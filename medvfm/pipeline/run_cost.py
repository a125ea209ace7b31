"""What a run will take in time, memory and disk, before anything is read: a rough estimate.

Counted are pictures that pass an encoder, forwards and backwards, at multiply-adds that are known for its family, and
at rates of two cores without a GPU. What is not known (a model of another size, a card without counts) is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvfm.engine.plan import ModelPlan, Plan, StagePlan

# (weights, (billions of multiply-adds for a picture, side in pixels for which they are, millions of parameters))
_SIZES: tuple[tuple[str, tuple[float, int, float]], ...] = (
    (r"^tiny", (0.05, 64, 1)),
    (r"^embedded", (0.4, 224, 5)),
    (r"sam-vit-base|medsam", (371, 1024, 94)),
    (r"sam-vit-huge", (2736, 1024, 641)),
    (r"hiera-tiny", (100, 1024, 39)),
    (r"giant|vitg", (291, 224, 1136)),
    (r"large|vitl|vit_l", (78, 224, 304)),
    (r"small|vits|vit_s", (5.5, 224, 22)),
    (r"base|vitb|vit_b|rad-dino|BiomedCLIP", (22, 224, 86)),
)
_RATE = 25.0  # billions of multiply-adds a second on two cores, of transformers
_RATE_OF_SMALL_CNN = 12.0
_READ_S = {False: 0.02, True: 0.25}  # to read and cut a picture, a volume
_START_S, _JUDGE_S, _STRUCTURE_S = 10.0, 15.0, 0.35  # start; intervals and report; distances of a structure in a case
_BACKWARD = 2.0  # of a forward pass
_DECODER = 0.2  # billions of multiply-adds at 128 px
_BASE_GIB = 0.9  # Python, torch, pandas
_SLICES_OF_A_VOLUME = 60  # where all are taken
_TABLE_MIB = 2.0


@dataclass(frozen=True)
class RunCost:
    """seconds, gib of memory, mib on disk; `unknown` names what keeps an estimate from being made."""

    seconds: float = 0.0
    gib: float = 0.0
    mib: float = 0.0
    unknown: str | None = None

    def line(self) -> str:
        if self.unknown is not None:
            return f"cost: no estimate of time, memory and disk: {self.unknown}"
        seconds = self.seconds
        time = f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
        time = time if seconds < 5400 else f"{seconds / 3600:.1f} hours"
        disk = f"{self.mib:.0f} MB" if self.mib < 1000 else f"{self.mib / 1000:.1f} GB"
        return (
            f"cost, a rough guess (two cores, no GPU): time {time}, memory {self.gib:.1f} GB, disk {disk} with caches"
        )


def estimate(planned: Plan, cases: int | None = None) -> RunCost:
    """The cost of a run of so many cases; None: as many as the card says."""
    count = cases if cases is not None else _cases(planned)
    if count is None:
        return RunCost(unknown="the card does not say how many cases there are; --ready counts them")
    settings = planned.recipe.adapter
    weights = settings.weights or str(planned.model.facts.get("weights") or "base")
    size = next((found for pattern, found in _SIZES if re.search(pattern, weights, re.IGNORECASE)), None)
    if settings.name not in ("dinov2", "sam", "clip"):
        return RunCost(unknown=f"the adapter {settings.name} has no rates yet")
    if size is None:
        return RunCost(unknown=f"the size of {weights} is not known")
    deep = _volumes(planned)
    work, side, parameters = size
    asked = planned.recipe.prepare.size
    wanted = asked if isinstance(asked, int) else max(asked) if asked else side
    work *= (wanted / side) ** 2
    rate = _RATE_OF_SMALL_CNN if work < 1 else _RATE
    masks = planned.task.answers == "mask"
    slices = 1 if not deep else _SLICES_OF_A_VOLUME if masks else planned.recipe.prepare.slices.count
    folds = (planned.recipe.split.folds or 1) * planned.recipe.repeats.seeds
    seconds = _START_S + _JUDGE_S + count * _READ_S[deep]
    for stage in planned.model.stages:
        seconds += folds * _stage_s(stage, planned.model, count, slices, work, rate, masks, wanted)
    if masks:
        _, val, test = planned.recipe.split.shares
        seconds += (val + test) * count * max(1, len(planned.task.classes)) * _STRUCTURE_S * (1 + deep)
    pictures_mib = count * slices * wanted * wanted * 2 / 2**20
    trained = any(stage.method.fits == "weights" for stage in planned.model.stages)
    batch = max((_whole(stage.settings.get("batch_size"), 8) for stage in planned.model.stages), default=8)
    activations = (batch if trained else 16) * work * 0.02 * (3 if trained else 1)
    gib = _BASE_GIB + parameters * 4 / 1024 * (4 if trained else 1) + min(activations, 64) + 0.2 * deep
    return RunCost(seconds, gib, _TABLE_MIB + pictures_mib + parameters * 4 * trained)


def _whole(given: object, otherwise: int) -> int:
    return int(given) if isinstance(given, int | float) and given else otherwise


def _stage_s(
    stage: StagePlan, model: ModelPlan, count: int, slices: int, work: float, rate: float, masks: bool, side: int
) -> float:
    forward = work / rate
    decoder = _DECODER * (side / 128) ** 2 / rate if masks else 0.0
    answered = count * slices * (forward + decoder)
    if stage.method.fits != "weights":
        return answered
    epochs = _whole(stage.settings.get("epochs"), 1)
    batch = _whole(stage.settings.get("batch_size"), 8)
    steps = stage.settings.get("steps")
    examples = _whole(steps, 1) * batch if steps else count * (1 if masks else slices)
    frozen = stage.method_name == "dense_head"
    each = forward * (1 if frozen else 1 + _BACKWARD) + decoder * (1 + _BACKWARD)
    validated = 0.15 * answered * epochs
    return epochs * examples * each * (1 if masks else max(1, slices if steps else 1)) + validated + 0.4 * answered


def _cases(planned: Plan) -> int | None:
    card, options = planned.card, planned.recipe.data.options
    if card.generator is not None:
        count = {**card.generator.options, **options}.get("patients")
        return int(count) if isinstance(count, int) else None
    counts = [entry.cases for entry in card.counts.values() if entry.cases is not None]
    return max(counts, default=None)


def _volumes(planned: Plan) -> bool:
    """Of CT, MR and PET, or in files of volumes."""
    templates = [str(part) for layout in planned.card.layouts for part in (layout.files, *layout.images.values())]
    named = any(ending in text for text in templates for ending in (".nii", ".mha", ".mhd", ".nrrd"))
    return named or bool(set(planned.card.modality) & {"CT", "MR", "PT"})
