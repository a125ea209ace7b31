"""`medvfm contract`: what an encoder expects of its pixels, and on a card what each usual mistake with it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medvfm import lookup
from medvfm.core.case import Case
from medvfm.core.errors import DataError, MedvfmError, RecipeError, nearest
from medvfm.core.image import Image
from medvfm.core.plurals import plural
from medvfm.core.recipe_sections import Split
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots, splits
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models import catalogue
from medvfm.models.encoders.base import Encoder
from medvfm.models.encoders.load import load_encoder
from medvfm.models.encoders.volumes import load_volume_encoder
from medvfm.models.inputs.contract import InputContract
from medvfm.models.inputs.golden import golden
from medvfm.models.weights import read_json
from medvfm.statistics.bootstrap import mean_interval
from medvfm.statistics.delong import delong_difference
from medvfm.statistics.interval import Interval

RIGHT = "as the contract says"
HALF, IMAGENET = catalogue.NORMALISED["half"], catalogue.NORMALISED["imagenet"]
WHOLE_HU = (-1024.0, 3071.0)
SHARES = (0.5, 0.0, 0.5)  # of patients: to fit the probe, none, to judge
STRENGTH = 0.01  # C of the probe's logistic regression, the same for all, so that nothing is chosen
AT_ONCE = 32


@dataclass(frozen=True)
class _Mistake:
    """How pictures are wrongly prepared: another window, axes exchanged, another contract, or another scale."""

    name: str
    said: str
    whole_range: bool = False
    transposed: bool = False
    contract: Callable[[InputContract], InputContract] = lambda contract: contract


@dataclass(frozen=True)
class Cost:
    """What a mistake costs: AUROC less that of the right way (none without a label), and how far features move."""

    name: str
    said: str
    trained: tuple[float, Interval] | None  # where probe and cases have the mistake
    deployed: tuple[float, Interval] | None  # where the cases alone have it
    moved: tuple[float, Interval]  # 1 - cosine of a case's features with the right ones


def lines(weights: str) -> list[str]:
    """The input contract of an encoder with its golden tensor, and what the catalogue knows of it."""
    known = catalogue.models().get(weights) or catalogue.of_hub(weights)
    if known is not None and known.adapter != "dinov2" and not Path(weights).exists():
        return _catalogued(known)
    if weights != "tiny" and Path(weights).is_dir() and _sees_volumes(Path(weights)):
        volumes = load_volume_encoder(weights)
        return [f"{volumes.name}: features of {volumes.width}, gray volumes", *volumes.contract.lines()]
    encoder = load_encoder(catalogue.hub_of(weights, "dinov2", "WEIGHTS"))
    known = catalogue.of_hub(str(encoder.weights_record.get("source", ""))) or catalogue.of_hub(weights)
    contract = encoder.contract
    size = " x ".join(map(str, contract.size_px))
    found = [
        f"{encoder.name}: features of {encoder.width}, pictures of {contract.channels} channels",
        f"  size          {size} px, {_resized(contract)}",
        f"  interpolation {contract.interpolation}, {'with' if contract.antialias else 'without'} antialias",
        f"  mean          {', '.join(f'{v:g}' for v in contract.mean)} of pixels from 0 to {contract.scale:g}",
        f"  deviation     {', '.join(f'{v:g}' for v in contract.std)}",
        f"  read from     {contract.origin or 'its configuration'}",
    ]
    if known is not None:
        found += [f"  licence       {known.licence}, {known.gate}", f"  trap          {known.trap}"]
    return found + golden(contract).lines()


def _catalogued(known: catalogue.CatalogueModel) -> list[str]:
    """What the catalogue says of a model that is no encoder of pictures; nothing is loaded."""
    own = known.contract
    mean, std = own.mean_and_std
    what = f"adapter {known.adapter}" if known.adapter else "no adapter here"
    found = [f"{known.hub}: {what}, {known.loads_with}; nothing was loaded"]
    found.append(f"  size          {' x '.join(map(str, own.size_px)) if any(own.size_px) else 'any'}, {own.resize}")
    found.append(f"  interpolation {own.interpolation}, {'with' if own.antialias else 'without'} antialias")
    if own.normalise in ("none", "minmax", "zscore"):
        found.append(f"  intensities   {_INTENSITIES[str(own.normalise)]}")
    else:
        found.append(f"  mean          {', '.join(f'{v:g}' for v in mean)} of pixels from 0 to 1")
        found.append(f"  deviation     {', '.join(f'{v:g}' for v in std)}")
    found += [f"  scans         {words}" for words in own.of_volumes()]
    if own.windows is not None:
        windows = ", ".join(f"[{low:g}, {high:g}]" for low, high in own.windows)
        found.append(f"  in a recipe   prepare: {{windows: [{windows}]}}")
    found += [f"  more          {own.more}"] if own.more else []
    return [*found, f"  licence       {known.licence}, {known.gate}", f"  trap          {known.trap}"]


_INTENSITIES = {
    "none": "as they are",
    "minmax": "from the least to the greatest value, as 0 to 1",
    "zscore": "less their mean, by their deviation",
}


def _sees_volumes(folder: Path) -> bool:
    """Whether a folder holds a 3D encoder: its config.json names no model of pictures."""
    file = folder / "config.json"
    return file.is_file() and not {"model_type", "architecture"} & set(read_json(file))


def _resized(contract: InputContract) -> str:
    if contract.resize == "squash":
        return "both sides resized, the aspect ratio is lost"
    before = " x ".join(map(str, contract.resize_px or contract.size_px))
    return {
        "shortest_then_crop": f"the shorter side to {min(contract.resize_px or contract.size_px)}, then the centre",
        "squash_then_crop": f"both sides to {before}, then the centre",
        "pad": f"the whole picture within {before}, borders filled",
    }[contract.resize]


def costs(
    weights: str, card: str, *, root: str | None = None, label: str | None = None, slices: int = 5, most: int = 400,
    seed: int = 0, console: Console | None = None,
) -> tuple[list[Cost], list[str]]:  # fmt: skip
    """Each usual mistake on the cases of a card, with 95% intervals over patients, and what was measured, in words.

    label   a class of the card; None: its first class, if cases have one
    slices  taken from a volume, in its middle
    most    cases; more are drawn at random

    A logistic regression on frozen features is fitted to half of the patients and judged by AUROC on the others. The
    same cases are judged each way, so that differences are paired (DeLong, patients as clusters).
    """
    console = console or Console()
    found = lookup.card(card)
    folder = roots.locate(found, root, {}, console, beside=lookup.beside(card))
    cases = tables.read_cases(found, folder).cases
    name = _label(cases, label)
    if name is not None:
        cases = [case for case in cases if case.targets.get(name) in (0.0, 1.0)]
    cases = sorted(cases, key=lambda case: case.case_id)
    if len(cases) > most:
        cases = [cases[n] for n in sorted(np.random.default_rng(seed).choice(len(cases), most, replace=False))]
    encoder = load_encoder(catalogue.hub_of(weights, "dinov2", "WEIGHTS"))
    mistakes = _mistakes(encoder.contract)
    kept, vectors = _vectors(cases, encoder, mistakes, slices, dict(found.reading), console)
    owners = np.array([case.patient_id or case.case_id for case in kept])
    truth = None if name is None else np.array([case.targets[name] for case in kept])
    judged = _judge(kept, truth, name, vectors, owners, seed)
    measured = [
        f"{found.name}: {plural(len(kept), 'case')} of {plural(len(set(owners)), 'patient')}, {len(cases) - len(kept)} "
        f"left out, {plural(slices, 'slice')} of a volume",
        "no class to judge by: only how far the features move"
        if judged is None
        else f"AUROC of {name} on {plural(judged.cases, 'case')} of other patients {judged.right:.3f}, {RIGHT}",
    ]
    result = []
    for mistake in mistakes:
        moved = 1 - _cosine(vectors[mistake.name], vectors[RIGHT])
        interval = mean_interval(moved, owners, seed=seed)
        trained, deployed = (None, None) if judged is None else judged.of(mistake.name)
        result.append(Cost(mistake.name, mistake.said, trained, deployed, (float(moved.mean()), interval)))
    return result, measured


def _label(cases: Sequence[Case], wanted: str | None) -> str | None:
    known = list(dict.fromkeys(name for case in cases for name in case.targets))
    if wanted is not None and wanted not in known:
        raise RecipeError(f"no class {wanted!r}; {nearest(wanted, known)}", where="--label")
    return wanted or next(iter(known), None)


def _mistakes(contract: InputContract) -> list[_Mistake]:
    other = HALF if np.allclose(contract.mean, IMAGENET[0][: contract.channels]) else IMAGENET
    mean, std = (part[: contract.channels] for part in other)
    return [
        _Mistake("window", "the whole range of values in place of a window", whole_range=True),
        _Mistake("orientation", "rows and columns exchanged, as an array of NIfTI lies in memory", transposed=True),
        _Mistake(
            "mean and deviation", f"those of other models, mean {mean[0]:g} and deviation {std[0]:g}",
            contract=lambda c: replace(c, mean=mean, std=std),
        ),
        _Mistake("double rescale", "divided by 255 twice", contract=lambda c: replace(c, scale=c.scale / 255)),
        _Mistake("no antialias", "shrunk without a low-pass", contract=lambda c: replace(c, antialias=False)),
    ]  # fmt: skip


def _vectors(
    cases: Sequence[Case], encoder: Encoder, mistakes: Sequence[_Mistake], slices: int, read: dict, console: Console
) -> tuple[list[Case], dict[str, np.ndarray]]:
    """Features (n, d) of the cases that can be read, each way."""
    ways = [_Mistake(RIGHT, ""), *mistakes]
    kept: list[Case] = []
    found: dict[str, list[np.ndarray]] = {way.name: [] for way in ways}
    for case in console.track(cases, len(cases), "features, each way"):
        files = next(iter(case.images.values()), ())
        try:
            image = read_image(files[0], **read) if files else None
        except MedvfmError:
            image = None
        if image is None:
            continue
        kept.append(case)
        stacks = {whole: _stack(image, slices, whole) for whole in (False, True)}
        for way, vector in zip(ways, _features(encoder, ways, stacks), strict=True):
            found[way.name].append(vector.numpy())
    if len(kept) < 2:
        raise DataError("fewer than two cases can be read")
    return kept, {name: np.stack(rows) for name, rows in found.items()}


def _stack(image: Image, slices: int, whole: bool) -> torch.Tensor:
    rule: object = "auto"
    if whole:
        rule = WHOLE_HU if image.unit == "HU" else {"percentiles": (0.0, 100.0)}
    return torch.from_numpy(windowing.slice_pictures(image, count=slices, span=(0.3, 0.7), intensity=rule))  # type: ignore[arg-type]


@torch.inference_mode()
def _features(encoder: Encoder, ways: Sequence[_Mistake], stacks: Mapping[bool, torch.Tensor]) -> torch.Tensor:
    """(W, d): a case's features in each way, its slices pooled by their mean; all ways go through the encoder
    together, which is faster than a few slices at a time."""
    pixels = []
    for way in ways:
        stack = stacks[way.whole_range]
        pixels.append(way.contract(encoder.contract).apply(stack.transpose(-1, -2) if way.transposed else stack))
    vectors = torch.cat([encoder(part).pooled for part in torch.cat(pixels).split(AT_ONCE)])
    return vectors.unflatten(0, (len(ways), -1)).mean(1)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product: np.ndarray = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12)
    return product


@dataclass(frozen=True)
class _Judged:
    """Scores of the held-out cases: right, and of each mistake in training too or in the cases alone."""

    truth: np.ndarray
    owners: np.ndarray
    right: float
    scores: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def cases(self) -> int:
        return len(self.truth)

    def of(self, name: str) -> tuple[tuple[float, Interval] | None, tuple[float, Interval] | None]:
        best = self.scores[RIGHT][0]
        trained, deployed = (
            delong_difference(self.truth, scores, best, patients=self.owners) for scores in self.scores[name]
        )
        return (trained.difference, trained.interval), (deployed.difference, deployed.interval)


def _judge(
    cases: Sequence[Case], truth: np.ndarray | None, name: str | None, vectors: dict[str, np.ndarray],
    owners: np.ndarray, seed: int,
) -> _Judged | None:  # fmt: skip
    if truth is None or name is None:
        return None
    fold = splits.split_cases(cases, Split(origin="random", fractions=SHARES), seed, (name,))[0]
    train = np.array([fold.assigned[case.case_id] == "train" for case in cases])
    if min(len(set(truth[train])), len(set(truth[~train]))) < 2:
        return None
    right = _probe(vectors[RIGHT][train], truth[train])
    scores = {}
    for way, rows in vectors.items():
        own = right if way == RIGHT else _probe(rows[train], truth[train])
        scores[way] = tuple(model.decision_function(rows[~train]) for model in (own, right))
    from sklearn.metrics import roc_auc_score

    auroc = float(roc_auc_score(truth[~train], scores[RIGHT][0]))
    return _Judged(truth[~train], owners[~train], auroc, scores)


def _probe(rows: np.ndarray, truth: np.ndarray) -> LogisticRegression:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000)).fit(rows, truth)
